"""Tables of an evaluation and a decision as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tasks.evaluation.metrics import find_metric
from tasks.evaluation.significance import Bounds
from tasks.evaluation.slices import SliceMetrics
from tasks.records.handles import Arm, Check, Decision

ARM_TITLES: dict[Arm, str] = {
    "baseline": "Baseline", "champion": "Champion", "finetuned": "Fine-tuned",
}  # fmt: skip
SLICE_METRICS = ("exact_match", "nll")
VERDICT_TITLES = {
    "better": "Better",
    "not_better": "Not better",
    "inconclusive": "Inconclusive",
}


def escape_cell(value: object) -> str:
    """Return a value as the text of a table cell: one line, no cell ends in it."""
    return " ".join(str(value).split()).replace("|", "\\|")


def render_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table, first column to the left, the others to the right."""
    marks = [":--", *("--:" for _ in header[1:])]
    lines = [header, marks, *([escape_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_bounds(bounds: Bounds) -> str:
    """Return a value with its interval.

    >>> format_bounds(Bounds(0.5, 0.25, 0.75))
    '0.500 (0.250 to 0.750)'
    """
    return f"{bounds.value:.3f} ({bounds.lower:.3f} to {bounds.upper:.3f})"


def render_metrics(intervals: Mapping[Arm, Mapping[str, Bounds]]) -> str:
    """Return the table of one split: a metric a line, an arm a column, with 95 % intervals."""
    arms: list[Arm] = [arm for arm in ARM_TITLES if arm in intervals]
    names = dict.fromkeys(name for arm in arms for name in intervals[arm])
    rows = []
    for name in names:
        bounds = [intervals[arm].get(name) for arm in arms]
        title = f"{name} {find_metric(name).mark}".strip()
        rows.append([title, *(format_bounds(b) if b else "" for b in bounds)])
    return render_table(["metric", *(ARM_TITLES[arm] for arm in arms)], rows)


def render_slices(slices: Mapping[Arm, SliceMetrics], split: str) -> list[str]:
    """Return a heading and a table for each field that the split was sliced by.

    Shown are exact match, where there are answers, and NLL; `slices.json` has all metrics.
    """
    arms: list[Arm] = [arm for arm in ARM_TITLES if slices.get(arm)]
    parts = []
    for field, values in (slices[arms[0]] if arms else {}).items():
        shown = [m for m in SLICE_METRICS if all(m in found for found in values.values())]
        header = [
            field,
            "rows",
            *(f"{m} ({ARM_TITLES[arm].lower()})" for m in shown for arm in arms),
        ]
        rows = [
            [
                value,
                int(found["rows"]),
                *(
                    _show_number(slices[arm][field].get(value, {}).get(m))
                    for m in shown
                    for arm in arms
                ),
            ]
            for value, found in values.items()
        ]
        parts += [f"### {split} by {field}", render_table(header, rows)]
    return parts


def _show_number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def render_checks(checks: Sequence[Check]) -> str:
    """Return the table of the decision's checks."""
    header = ["check", "against", "candidate", "opponent", "improvement", "bounds",
              "must be above", "rows (groups)", "won / lost", "McNemar p", "passed",
              "note"]  # fmt: skip
    rows = [
        [
            f"{check.metric} on {check.place} ({check.role})",
            check.opponent,
            f"{check.candidate:.4g}",
            f"{check.opponent_value:.4g}",
            f"{check.improvement:+.4g}",
            check.describe_bounds(),
            f"{check.threshold:+.4g}",
            f"{check.rows} ({check.groups})",
            "" if check.won is None else f"{check.won} / {check.lost}",
            "" if check.mcnemar_p is None else f"{check.mcnemar_p:.3g}",
            "yes" if check.passed else "**no**",
            check.note,
        ]
        for check in checks
    ]
    return render_table(header, rows)


def describe_gains(gains: Mapping[str, float]) -> list[str]:
    """Return the smallest gains that the test set shows at 80 % power, in words."""
    lines = []
    for key, gain in gains.items():
        metric, _, discordance = key.partition("@")
        share = f" if {float(discordance):.0%} of the answers change" if discordance else ""
        lines.append(f"{metric}: {gain:.3f}{share}")
    return lines


def render_decision(decision: Decision) -> str:
    """Return the verdict, the reasons, the checks and what this look could have shown."""
    version = decision.champion_version
    against = f"the baseline and champion version {version}" if version else "the baseline"
    parts = [
        f"## Verdict: {VERDICT_TITLES[decision.verdict]}",
        "\n".join(f"- {reason}" for reason in decision.reasons),
        (
            f"Look {decision.look} at this test set for `{decision.model_name}`, against "
            f"{against}, at a one-sided error rate of {decision.alpha:.4f}."
        ),
        render_checks(decision.checks),
    ]
    if gains := describe_gains(decision.smallest_detectable_gain):
        lines = "\n".join(f"- {line}" for line in gains)
        parts.append(f"Smallest gain that this look shows with 80 % probability:\n\n{lines}")
    return "\n\n".join(parts)
