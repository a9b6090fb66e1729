"""The data report: what was read, what became of it, and what the splits hold."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from configs.schema import DataConfig
from tasks.formatting.intake import Intake
from tasks.formatting.ledger import LedgerEntry, count_reasons, count_rows, list_problems
from tasks.formatting.rendering import Renderer
from tasks.formatting.tokenizing import Split


def write_report(
    entries: Sequence[LedgerEntry],
    splits: dict[str, Split],
    *,
    intake: Intake,
    renderer: Renderer,
    data: DataConfig,
    primary_metrics: Sequence[str],
) -> str:
    """Return a Markdown page of counts by split, reason and kind, lengths and rejected rows."""
    sections = [
        "# Data report",
        _describe_rows(entries),
        _describe_splits(splits),
        _describe_kinds(splits),
        _describe_rejections(entries),
        _describe_settings(intake, data, primary_metrics),
        _describe_notes(splits, renderer),
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


def _describe_rows(entries: Sequence[LedgerEntry]) -> str:
    rows = count_rows(entries)
    header = ("read", "kept", "invalid", "filtered", "cut")
    values = (rows.read, rows.kept, rows.invalid, rows.filtered, rows.cut)
    return "## Rows\n\n" + format_table(header, [values])


def _describe_splits(splits: dict[str, Split]) -> str:
    header = (
        "split", "rows", "groups", "tokens", "trained tokens", "share", "median length", "longest",
    )  # fmt: skip
    rows = []
    for name, split in splits.items():
        record = split.summarise()
        lengths = [len(tokens.input_ids) for tokens in split.tokens]
        share = f"{record.trained_tokens / record.tokens:.1%}"
        middle = round(statistics.median(lengths))
        rows.append(
            (name, record.rows, record.groups, record.tokens, record.trained_tokens, share, middle,
             max(lengths))
        )  # fmt: skip
    return "## Splits\n\n" + format_table(header, rows)


def _describe_kinds(splits: dict[str, Split]) -> str:
    counts = {
        name: Counter(str(e.fields["kind"]) for e in split.examples if "kind" in e.fields)
        for name, split in splits.items()
    }
    kinds = sorted(set().union(*counts.values()))
    if not kinds:
        return ""
    rows = [(kind, *(count[kind] for count in counts.values())) for kind in kinds]
    return "## Rows by kind\n\n" + format_table(("kind", *counts), rows)


def _describe_rejections(entries: Sequence[LedgerEntry]) -> str:
    reasons = [
        (outcome, reason, count)
        for outcome in ("invalid", "filtered")
        for reason, count in count_reasons(entries, outcome).items()
    ]
    if not reasons:
        return ""
    first = [*list_problems(entries, "invalid"), *list_problems(entries, "filtered")]
    table = format_table(("outcome", "reason", "rows"), reasons)
    return "\n".join(["## Rows left out\n", table, "", *(f"- {line}" for line in first)])


def _describe_settings(intake: Intake, data: DataConfig, primary_metrics: Sequence[str]) -> str:
    formats = Counter(intake.formats.values())
    lines = [f"- format: {', '.join(f'{n} ({c} files)' for n, c in sorted(formats.items()))}"]
    lines += [
        f'- role "{name}" read as {role}: {intake.mapped_roles[name]:,} turns'
        for name, role in sorted(data.roles.items())
    ]
    lines.append(f"- metrics that decide: {', '.join(primary_metrics)}")
    return "\n".join(["## Settings\n", *lines])


def _describe_notes(splits: dict[str, Split], renderer: Renderer) -> str:
    untrained = sum(t.untrained_turns for split in splits.values() for t in split.tokens)
    controls = sum(
        bool(renderer.encoder.control_tokens.search(content))
        for split in splits.values()
        for example in split.examples
        for content in [example.text, *(message.content for message in example.messages)]
    )
    notes = []
    if untrained:
        notes.append(
            f"- {untrained:,} earlier assistant turns are not trained on: the chat template "
            "changes them as the conversation goes on"
        )
    if controls:
        notes.append(
            f"- {controls:,} texts hold the spelling of a control token; it is read as plain text"
        )
    return "\n".join(["## Notes\n", *notes]) if notes else ""
