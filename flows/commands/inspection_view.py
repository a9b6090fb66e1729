"""How an inspection is shown: one object for machines, tables and a histogram for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.terminal import print_table, print_text
from tasks.formatting.inspection.length_plot import Bin, draw_text_histogram
from tasks.formatting.inspection.lengths import rank_split
from tasks.formatting.inspection.page import list_leaks, list_repeats

if TYPE_CHECKING:
    from tasks.inspect import InspectedData

UNITS = {"characters": "characters", "tokens": "tokens", "trained_tokens": "trained"}
NUM_VALUES = 12  # of the balance; the page has more


def build_object(
    inspected: InspectedData, figures: Mapping[str, Any], output: Path | None
) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    return {
        "source": inspected.source,
        "commit": inspected.commit,
        "base": inspected.base,
        "format": inspected.format,
        "formats": inspected.formats,
        **figures,
        "rows": inspected.rows.model_dump(),
        "ledger": str(inspected.folder / "ledger.jsonl"),
        "output": output and str(output),
    }


def show_inspection(
    inspected: InspectedData, figures: Mapping[str, Any], output: Path | None
) -> None:
    """Print an inspection for a person, the warnings last."""
    print_text((inspected.folder / "preview.md").read_text(encoding="utf-8"))
    _show_rows(inspected, figures)
    _show_lengths(figures)
    _show_balance(figures)
    for label, text in _describe(figures):
        print_text(f"{label:<9}{text}")
    for warning in figures["warnings"]:
        print_text(f"warning  {warning}")
    print_text(f"ledger   {inspected.folder / 'ledger.jsonl'}")
    if output:
        print_text(f"written  {output}")


def show_dropped(inspected: InspectedData, figures: Mapping[str, Any], output: Path | None) -> None:
    """Print how rows ended of which none is left."""
    _show_rows(inspected, figures)
    if output:
        print_text(f"written  {output}")


def _show_rows(inspected: InspectedData, figures: Mapping[str, Any]) -> None:
    rows = inspected.rows
    print_text(f"source   {inspected.source} @ {inspected.commit[:12]}")
    print_text(f"format   {inspected.format} ({len(inspected.formats)} files)")
    print_text(
        f"rows     {rows.read:,} read = {rows.kept:,} kept + {rows.invalid:,} invalid "
        f"+ {rows.filtered:,} filtered; {rows.cut:,} cut"
    )
    for outcome in ("invalid", "filtered"):
        for reason, count in figures[outcome].items():
            print_text(f"         {count:>9,}  {outcome}: {reason}")
    for line in figures["problems"]:
        print_text(f"         {line}")
    left_out = rows.invalid + (rows.filtered if inspected.refusal else 0)
    if (more := left_out - len(figures["problems"])) > 0:
        print_text(f"         and {more:,} more: see the ledger")


def _show_lengths(figures: Mapping[str, Any]) -> None:
    print_table(
        ["split", "unit", "rows", "shortest", "median", "90 %", "99 %", "longest"],
        [
            [split, label]
            + [f"{d[k]:,}" for k in ("num", "smallest", "median", "p90", "p99", "longest")]
            for unit, label in UNITS.items()
            for split, d in _order_splits(figures["lengths"][unit])
        ],
    )
    print_text("rows by length in tokens")
    print_text(draw_text_histogram([Bin(**found) for found in figures["histogram"]]))


def _show_balance(figures: Mapping[str, Any]) -> None:
    balance = figures["balance"]
    if not balance:
        return
    print_table(
        [figures["by"], *(split for split, _ in _order_splits(figures["splits"]))],
        [
            [value, *(f"{count:,}" for _, count in _order_splits(counts))]
            for value, counts in islice(balance.items(), NUM_VALUES)
        ],
    )
    if len(balance) > NUM_VALUES:
        print_text(f"         and {len(balance) - NUM_VALUES} more")


def _order_splits(by_split: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(by_split.items(), key=lambda item: rank_split(item[0]))


def _describe(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a label and a line for each subject that there is something to say about."""
    if figures["roles"]:
        yield "turns", ", ".join(f"{count:,} {role}" for role, count in figures["roles"].items())
    yield "trained", f"{figures['trained_fraction']:.1%} of the training tokens"
    for label, found in (
        ("repeats", list_repeats(figures["duplicates"])),
        ("leakage", list_leaks(figures["leakage"])),
    ):
        if not found:
            yield label, "none found"
        for words, count in found:
            yield label, f"training rows that {words}: {count:,}"
            label = ""  # noqa: PLW2901 - later lines of a subject have none
    findings = [f"{count:,} rows with {kind}" for kind, count in figures["findings"].items()]
    if findings:
        yield "findings", ", ".join(findings)
