"""The report of a run as one Markdown page: verdict first, then the evidence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tasks.evaluation.changes import Change, Changes, sort_changes
from tasks.evaluation.forecasts import describe_forecast
from tasks.evaluation.intervals import Intervals
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.slices import SliceMetrics
from tasks.evaluation.tables import (
    ARM_TITLES,
    render_decision,
    render_metrics,
    render_slices,
    render_table,
)
from tasks.records.handles import (
    Arm,
    DataVersion,
    Decision,
    Evaluation,
    FormattedData,
    Publication,
    TrainedModel,
    WholeRun,
)

EXAMPLES_SHOWN = 3
MAX_CHARACTERS = 600


def quote_text(text: str) -> str:
    """Return a text in a fence that it cannot close; what is left out of a long one is said."""
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]} [and {len(text) - MAX_CHARACTERS} more characters]"
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def render_change(change: Change, opponent: Arm) -> str:
    """Return one example with both answers."""
    row = change.candidate
    parts = [f"**{row.origin}** ({change.gain:+.3g})"]
    if row.prompt:
        parts += [
            quote_text(row.prompt),
            "Right answer:",
            quote_text(row.reference),
            f"{ARM_TITLES[opponent]}:",
            quote_text(change.opponent.prediction),
            "Fine-tuned:",
            quote_text(row.prediction),
        ]
    else:
        parts.append(quote_text(row.reference))
    return "\n\n".join(parts)


def render_changes(changes: Changes, opponent: Arm, split: str) -> str:
    """Return how many examples were won and lost, and some of each side by side."""
    parts = [
        f"### {split}, against the {opponent}",
        f"{len(changes.won)} won, {len(changes.lost)} lost, {len(changes.unchanged)} unchanged.",
    ]
    for title, rows in (("Lost", changes.lost), ("Won", changes.won)):
        if rows:
            parts.append(f"#### {title} ({min(EXAMPLES_SHOWN, len(rows))} of {len(rows)})")
            parts += [render_change(change, opponent) for change in rows[:EXAMPLES_SHOWN]]
    return "\n\n".join(parts)


def render_evaluation(
    evaluations: Mapping[Arm, Evaluation], intervals: Mapping[Arm, Intervals]
) -> str:
    """Return the metrics of every split by arm, with intervals and generation speed."""
    splits = sorted({split for by_split in intervals.values() for split in by_split})
    splits.sort(key=lambda split: split != "test")
    parts = ["## Metrics", "With 95 % intervals, resampled over groups. ↑ more, ↓ less is better."]
    for split in splits:
        by_arm = {arm: found[split] for arm, found in intervals.items() if split in found}
        parts += [f"### {split}", render_metrics(by_arm)]
    speeds = {
        arm: evaluation.metrics["test"]["tokens_per_second"]
        for arm, evaluation in evaluations.items()
        if "tokens_per_second" in evaluation.metrics.get("test", {})
    }
    if speeds:
        words = [f"{ARM_TITLES[arm].lower()} {speed:,.0f}" for arm, speed in speeds.items()]
        parts.append(f"Generation, tokens per second: {', '.join(words)}.")
    return "\n\n".join(parts)


def render_training(trained: TrainedModel) -> str:
    """Return what was trained, and how it went."""
    share = trained.num_trainable_parameters / trained.num_parameters
    rows: list[tuple[str, object]] = [
        ("base model", f"{trained.base.name} @ {trained.base.revision}"),
        ("method", f"{trained.method}, base in {trained.dtype}"),
        (
            "trained parameters",
            f"{trained.num_trainable_parameters:,} of {trained.num_parameters:,} ({share:.2%})",
        ),
        ("size", f"{trained.num_bytes / 1e6:.1f} MB"),
        ("steps", f"{trained.num_steps}, best {trained.best_step}"),
        *((name, f"{value:.4g}") for name, value in sorted(trained.metrics.items())),
        ("digest", f"`{trained.digest}`"),
    ]
    return f"## Training\n\n{render_table(['', 'value'], rows)}"


def render_data(data: DataVersion | None, formatted: FormattedData) -> str:
    """Return where the rows came from and what became of them."""
    counts = formatted.rows
    rows = [
        [name, f"{s.rows:,}", f"{s.groups:,}", f"{s.tokens:,}", f"{s.trained_tokens:,}"]
        for name, s in sorted(formatted.splits.items())
    ]
    parts = ["## Data"]
    if data is not None:
        parts.append(f"`{data.source}` at commit `{data.commit}`.")
        if data.passed_over:
            parts.append(f"Files that were passed over: {', '.join(data.passed_over)}.")
    parts += [
        (
            f"{counts.read:,} rows read: {counts.kept:,} kept, {counts.invalid:,} invalid, "
            f"{counts.filtered:,} filtered; {counts.cut:,} of the kept ones cut. "
            "See `data/data_report.md`."
        ),
        render_table(["split", "rows", "groups", "tokens", "trained tokens"], rows),
    ]
    return "\n\n".join(parts)


def render_links(links: Mapping[str, str]) -> str:
    """Return a list of links."""
    lines = [f"- [{name}]({target})" for name, target in links.items()]
    return "\n".join(["## Links", "", *lines])


def render_publication(publication: Publication | None) -> str:
    """Return what was published."""
    if publication is None:
        return "Nothing was published."
    name = f"`{publication.name}` version {publication.version}"
    return f"Published as {name}: `{publication.uri}`, in `{publication.path}`."


def render_forecast(forecast: WholeRun) -> str:
    """Return that this was a pilot, and what the whole run will take."""
    return (
        f"**This is a pilot**: {forecast.pilot_steps} steps on a sample of the training rows, "
        f"scored on `{forecast.split}`. Nothing is decided or published, and no look at `test` is "
        f"taken.\n\n## The whole run\n\n"
        + render_table(["forecast", "value"], describe_forecast(forecast).items())
    )


def list_changes(
    predictions: Mapping[Arm, Mapping[str, Sequence[Prediction]]], split: str
) -> dict[Arm, Changes]:
    """Return what the candidate won and lost on one split against each opponent."""
    arms: list[Arm] = [arm for arm in ARM_TITLES if arm in predictions and arm != "finetuned"]
    candidate = predictions.get("finetuned", {}).get(split)
    if not candidate:
        return {}
    return {
        arm: sort_changes(candidate, predictions[arm][split])
        for arm in arms
        if split in predictions[arm]
    }


def render_report(
    *,
    title: str,
    decision: Decision | None = None,
    publication: Publication | None = None,
    evaluations: Mapping[Arm, Evaluation] | None = None,
    intervals: Mapping[Arm, Intervals] | None = None,
    predictions: Mapping[Arm, Mapping[str, Sequence[Prediction]]] | None = None,
    trained: TrainedModel | None = None,
    formatted: FormattedData | None = None,
    data: DataVersion | None = None,
    plots: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    slices: Mapping[Arm, Mapping[str, SliceMetrics]] | None = None,
    split: str = "test",
    forecast: WholeRun | None = None,
) -> str:
    """Return the report of a run; what a run has not reached is left out of it.

    Args:
        title: The run's name.
        decision: The verdict with its checks.
        publication: What was published.
        evaluations: The arms' evaluations.
        intervals: Each arm's metrics with bounds, from `bound_splits`.
        predictions: Each arm's predictions by split, for won and lost examples.
        trained: The trained model.
        formatted: The formatted data.
        data: The data version.
        plots: Paths of plots, relative to the report, by caption.
        links: Addresses of other views of the run, by name.
        slices: Each arm's metrics by split and slice, from `slice_splits`.
        split: The split whose slices, won and lost examples are shown.
        forecast: What the whole run will take, where this is its pilot.
    """
    parts = [f"# Pilot of {title}" if forecast else f"# {title}"]
    if forecast:
        parts.append(render_forecast(forecast))
    if decision:
        parts += [render_decision(decision), render_publication(publication)]
    if intervals:
        parts.append(render_evaluation(evaluations or {}, intervals))
    if slices:
        parts += render_slices({arm: found.get(split, {}) for arm, found in slices.items()}, split)
    parts += [f"![{caption}]({path})" for caption, path in (plots or {}).items()]
    if changes := list_changes(predictions or {}, split):
        parts.append("## Won and lost examples")
        parts += [render_changes(found, arm, split) for arm, found in changes.items()]
    if trained:
        parts.append(render_training(trained))
    if formatted:
        parts.append(render_data(data, formatted))
    if links:
        parts.append(render_links(links))
    return "\n\n".join(parts) + "\n"
