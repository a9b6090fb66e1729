"""The data report: what was read, what became of it, and what the splits hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from configs.schema import DataConfig
from tasks.formatting.intake.data_intake import Intake
from tasks.formatting.ledger import Tally, count_reasons, count_rows, list_problems
from tasks.formatting.tokens.assembly import SplitFigures
from tasks.formatting.tokens.token_parts import PartSummary

MAX_KINDS = 50  # more are listed together


def write_report(
    summary: PartSummary,
    splits: Mapping[str, SplitFigures],
    *,
    intake: Intake,
    data: DataConfig,
    primary_metrics: Sequence[str],
) -> str:
    """Return a Markdown page of counts by split, reason and kind, lengths and rejected rows."""
    sections = [
        "# Data report",
        _describe_rows(summary.tally),
        _describe_splits(splits),
        _describe_kinds({name: summary.kinds.get(name, Counter()) for name in splits}),
        _describe_rejections(summary.tally),
        _describe_findings(intake),
        _describe_settings(intake, data, primary_metrics),
        _describe_notes(summary),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def format_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; numbers get thousands separators."""
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    lines += [f"| {' | '.join(_format_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _format_cell(cell: object) -> str:
    text = f"{cell:,}" if isinstance(cell, int) else str(cell)
    return text.replace("|", "\\|").replace("\n", " ")


def _describe_rows(tally: Tally) -> str:
    rows = count_rows(tally)
    header = ("read", "kept", "invalid", "filtered", "cut")
    values = (rows.read, rows.kept, rows.invalid, rows.filtered, rows.cut)
    return "## Rows\n\n" + format_table(header, [values])


def _describe_splits(splits: Mapping[str, SplitFigures]) -> str:
    header = (
        "split", "rows", "groups", "tokens", "trained tokens", "share", "median length", "longest",
    )  # fmt: skip
    rows = []
    for name, figures in splits.items():
        record = figures.record
        share = f"{record.trained_tokens / record.tokens:.1%}"
        rows.append(
            (name, record.rows, record.groups, record.tokens, record.trained_tokens, share,
             figures.median_tokens, figures.longest_tokens)
        )  # fmt: skip
    return "## Splits\n\n" + format_table(header, rows)


def _describe_kinds(counts: Mapping[str, Counter[str]]) -> str:
    totals = sum(counts.values(), Counter[str]())
    if not totals:
        return ""
    kinds = sorted(sorted(totals), key=lambda kind: -totals[kind])
    listed, others = sorted(kinds[:MAX_KINDS]), kinds[MAX_KINDS:]
    rows: list[tuple[object, ...]] = [
        (kind, *(count[kind] for count in counts.values())) for kind in listed
    ]
    if others:
        sums = (sum(count[kind] for kind in others) for count in counts.values())
        rows.append((f"{len(others):,} other kinds", *sums))
    return "## Rows by kind\n\n" + format_table(("kind", *counts), rows)


def _describe_rejections(tally: Tally) -> str:
    reasons = [
        (outcome, reason, count)
        for outcome in ("invalid", "filtered")
        for reason, count in count_reasons(tally, outcome).items()
    ]
    if not reasons:
        return ""
    first = [*list_problems(tally, "invalid"), *list_problems(tally, "filtered")]
    table = format_table(("outcome", "reason", "rows"), reasons)
    return "\n".join(["## Rows left out\n", table, "", *(f"- {line}" for line in first)])


def _describe_findings(intake: Intake) -> str:
    if not intake.sightings.findings:
        return ""
    rows = sorted(intake.sightings.findings.items(), key=lambda item: (-item[1], item[0]))
    return "## Findings\n\n" + format_table(("found", "rows"), rows)


def _describe_settings(intake: Intake, data: DataConfig, primary_metrics: Sequence[str]) -> str:
    formats = Counter(intake.formats.values())
    lines = [f"- format: {', '.join(f'{n} ({c} files)' for n, c in sorted(formats.items()))}"]
    lines += [
        f'- role "{name}" read as {role}: {intake.sightings.mapped_roles[name]:,} turns'
        for name, role in sorted(data.roles.items())
    ]
    lines.append(f"- metrics that decide: {', '.join(primary_metrics)}")
    return "\n".join(["## Settings\n", *lines])


def _describe_notes(summary: PartSummary) -> str:
    notes = []
    if summary.tally.untrained_turns:
        notes.append(
            f"- {summary.tally.untrained_turns:,} earlier assistant turns are not trained on: the "
            "chat template changes them as the conversation goes on"
        )
    if summary.control_texts:
        notes.append(
            f"- {summary.control_texts:,} texts hold the spelling of a control token; it is read "
            "as plain text"
        )
    return "\n".join(["## Notes\n", *notes]) if notes else ""
