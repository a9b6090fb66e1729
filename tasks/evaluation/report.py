"""The report of a run as one Markdown page: verdict first, then the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.evaluation.bands import describe_perplexity
from tasks.evaluation.changes import Changes, sort_changes
from tasks.evaluation.forecasts import describe_forecast
from tasks.evaluation.intervals import Intervals
from tasks.evaluation.judge import Judged
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.shown_examples import render_changes, render_worst
from tasks.evaluation.significance import Bounds
from tasks.evaluation.slices import SliceMetrics
from tasks.evaluation.tables import (
    ARM_TITLES,
    format_bounds,
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
        if lines := list_perplexities(by_arm):
            parts.append("Perplexity in words:\n\n" + "\n".join(lines))
    speeds = {
        arm: evaluation.metrics["test"]["tokens_per_second"]
        for arm, evaluation in evaluations.items()
        if "tokens_per_second" in evaluation.metrics.get("test", {})
    }
    if speeds:
        words = [f"{ARM_TITLES[arm].lower()} {speed:,.0f}" for arm, speed in speeds.items()]
        parts.append(f"Generation, tokens per second: {', '.join(words)}.")
    return "\n\n".join(parts)


def render_judged(judged: Mapping[Arm, Judged], split: str) -> str:
    """Return what a judge model found, which decides nothing."""
    header = ["against", "won", "lost", "tied", "orders disagree", "not read", "net (95 %)"]
    rows = [
        [arm, j.won, j.lost, j.tied, j.disagreements, j.unread, format_bounds(j.net)]
        for arm, j in judged.items()
    ]
    about = (
        f"Pairs of answers on {split}, each judged in both orders; where the orders disagree, or a "
        "verdict could not be read, the pair counts as tied. It decides nothing."
    )
    return f"### A judge model's view\n\n{about}\n\n{render_table(header, rows)}"


def list_perplexities(by_arm: Mapping[Arm, Mapping[str, Bounds]]) -> list[str]:
    """Return each arm's perplexity in words, as lines of a list."""
    arms: list[Arm] = [a for a in ARM_TITLES if "perplexity" in by_arm.get(a, {})]
    return [
        f"- {ARM_TITLES[arm]}: {describe_perplexity(by_arm[arm]['perplexity'].value)}"
        for arm in arms
    ]


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
    judged: Mapping[Arm, Judged] | None = None,
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
        judged: What a judge model found against each opponent.
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
    parts += render_slices({arm: by.get(split, {}) for arm, by in (slices or {}).items()}, split)
    parts += [render_judged(judged, split)] if judged else []
    parts += [f"![{caption}]({path})" for caption, path in (plots or {}).items()]
    if changes := list_changes(predictions or {}, split):
        parts.append("## Won and lost examples")
        parts += [render_changes(found, arm, split) for arm, found in changes.items()]
    if rows := (predictions or {}).get("finetuned", {}).get(split):
        parts.append(render_worst(rows, split))
    if trained:
        parts.append(render_training(trained))
    if formatted:
        parts.append(render_data(data, formatted))
    if links:
        parts.append(render_links(links))
    return "\n\n".join(parts) + "\n"
