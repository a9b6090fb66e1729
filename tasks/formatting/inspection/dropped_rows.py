"""What there is to say when no row is left: how each row ended, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.formatting.inspection.page import INSPECTION, REPORT, list_warnings
from tasks.formatting.report import format_table
from tasks.records.writing import iterate_jsonl, read_json, write_json, write_text

NUM_LISTED = 5  # rows of each reason; the ledger has them all


@dataclass(frozen=True)
class DroppedRows:
    """How rows ended, from the ledger alone."""

    rows: dict[str, int]
    """read = kept + invalid + filtered."""
    invalid: dict[str, int]
    filtered: dict[str, int]
    """Rows left out, by reason, most frequent first."""
    problems: tuple[str, ...]
    """`file:line: detail` of the first rows of each reason."""


def add_dropped_rows(folder: Path, refusal: str) -> DroppedRows:
    """Describe the ledger of data without a kept row: write `inspection.json` and a page.

    Args:
        folder: Holds `ledger.json` and `ledger.jsonl`.
        refusal: What a run would be refused for.
    """
    dropped = describe_dropped(folder)
    write_json(folder / INSPECTION, asdict(dropped) | {"warnings": [refusal]})
    write_text(folder / REPORT, "\n\n".join(_describe_sections(dropped, [refusal])) + "\n")
    return dropped


def describe_dropped(folder: Path) -> DroppedRows:
    """Return how the rows of a ledger ended."""
    ledger = read_json(folder / "ledger.json")
    first: dict[tuple[str, str], list[str]] = {}
    for entry in iterate_jsonl(folder / "ledger.jsonl"):
        if entry["outcome"] != "kept":
            listed = first.setdefault((entry["outcome"], entry["reason"]), [])
            if len(listed) < NUM_LISTED:
                listed.append(f"{entry['origin']}: {entry['detail']}")
    reasons = [(end, why) for end in ("invalid", "filtered") for why in ledger[end]]
    return DroppedRows(
        rows=ledger["rows"],
        invalid=ledger["invalid"],
        filtered=ledger["filtered"],
        problems=tuple(text for reason in reasons for text in first[reason]),
    )


def _describe_sections(dropped: DroppedRows, warnings: Sequence[str]) -> list[str]:
    ended = [
        (outcome, reason, count)
        for outcome, counts in (("invalid", dropped.invalid), ("filtered", dropped.filtered))
        for reason, count in counts.items()
    ]
    return [
        "# Data report",
        list_warnings(warnings),
        "## Rows\n\n" + format_table(tuple(dropped.rows), [tuple(dropped.rows.values())]),
        "## Rows left out\n\n" + format_table(("outcome", "reason", "rows"), ended),
        "\n".join(f"- {problem}" for problem in dropped.problems),
    ]
