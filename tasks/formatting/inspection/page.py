"""The inspection of formatted data as a page for people, and as figures for machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tasks.formatting.inspection.advice import find_warnings
from tasks.formatting.inspection.findings import Inspection, describe_data
from tasks.formatting.inspection.lengths import Distribution
from tasks.formatting.inspection.near_report import NearRows
from tasks.records.writing import write_json, write_text

INSPECTION = "inspection.json"
REPORT = "data_report.md"
LENGTH_HEADER = ("split", "rows", "shortest", "median", "90 %", "99 %", "longest", "mean")
REPEATS = {
    "duplicate": "repeat another one (filtered)",
    "near_duplicate": "are nearly another one (filtered)",
    "near_kept": "are nearly another one (kept)",
}
LEAKS = {
    "overlap": "have a prompt of {} (filtered)",
    "overlap_group": "are of a group of {} (filtered)",
    "near_test": "are near a row of {} (filtered)",
    "near_validation": "are near a row of {} (filtered)",
    "near_kept": "are near a row of {} (kept)",
}


def add_inspection(
    folder: Path,
    *,
    max_length: int,
    by: str = "kind",
    near: NearRows | None = None,
    remarks: Sequence[str] = (),
) -> Inspection:
    """Describe formatted data: write `inspection.json`, and extend `data_report.md` by it.

    Args:
        folder: What the format stage wrote.
        max_length: Longest row of a training, in tokens.
        by: The field whose balance is shown.
        near: What was found of near rows, if it was looked for.
        remarks: Warnings that come from elsewhere.
    """
    inspection = describe_data(folder, by=by, near=near)
    warnings = (*remarks, *find_warnings(inspection, max_length=max_length))
    write_json(folder / INSPECTION, asdict(inspection) | {"warnings": warnings})
    title, _, rest = (folder / REPORT).read_text(encoding="utf-8").partition("\n")
    page = [title, list_warnings(warnings), rest.strip(), *describe_sections(inspection)]
    write_text(folder / REPORT, "\n\n".join(part for part in page if part) + "\n")
    return inspection


def list_warnings(warnings: Sequence[str]) -> str:
    """Return the section of the warnings; empty when there are none."""
    return "\n".join(["## Warnings\n", *(f"- {text}" for text in warnings)]) if warnings else ""


def describe_sections(inspection: Inspection) -> Iterator[str]:
    """Yield the sections of the page that have something to say."""
    for unit, by_split in inspection.lengths.items():
        title = f"## Lengths in {unit.replace('_', ' ')}"
        yield f"{title}\n\n{_format_table(LENGTH_HEADER, list_lengths(by_split))}"
    if inspection.roles:
        yield "## Turns by role\n\n" + _format_table(("role", "turns"), inspection.roles.items())
    repeats = [*list_repeats(inspection.duplicates), *list_leaks(inspection.leakage)]
    if repeats:
        table = _format_table(("training rows that", "count"), repeats)
        yield f"## Duplicates and leakage\n\n{table}"
    if inspection.findings:
        table = _format_table(("kind", "rows"), inspection.findings.items())
        yield f"## Findings\n\n{table}"
    if inspection.balance and inspection.by != "kind":  # the report shows that one itself
        header = (inspection.by, *inspection.splits)
        rows = [(value, *counts.values()) for value, counts in inspection.balance.items()]
        yield f"## Rows by {inspection.by}\n\n{_format_table(header, rows)}"


def list_lengths(by_split: Mapping[str, Distribution]) -> list[tuple[object, ...]]:
    """Return a row of figures for each split."""
    return [
        (name, d.num, d.smallest, d.median, d.p90, d.p99, d.longest, d.mean)
        for name, d in by_split.items()
    ]


def list_repeats(duplicates: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return in words how many training rows repeat others."""
    return [(REPEATS[reason], count) for reason, count in duplicates.items() if count]


def list_leaks(leakage: Mapping[str, Mapping[str, int]]) -> list[tuple[str, int]]:
    """Return in words how many training rows stand in evaluation sets, or near them."""
    return [
        (LEAKS[reason].format(name), count)
        for name, reasons in leakage.items()
        for reason, count in reasons.items()
    ]


def _format_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    lines += [f"| {' | '.join(map(_format_cell, row))} |" for row in rows]
    return "\n".join(lines)


def _format_cell(cell: object) -> str:
    text = f"{cell:,}" if isinstance(cell, int | float) else str(cell)
    return text.replace("|", "\\|").replace("\n", " ")
