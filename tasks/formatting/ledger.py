"""The row ledger: how each input row ended, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from configs.errors import RequestError
from tasks.formatting.examples import Example
from tasks.records.handles import RowCounts
from tasks.records.writing import write_json, write_jsonl

Outcome = Literal["kept", "invalid", "filtered"]
TRAIN = "train"
TRAINING_SPLITS = frozenset({TRAIN, "validation"})  # what training reads
NUM_LISTED = 10  # problems shown in an error; the ledger file has them all


@dataclass(frozen=True)
class LedgerEntry:
    """One input row and what became of it."""

    source: str
    """`train`, or the name of the evaluation set that the row came with."""
    origin: str
    """File and line."""
    outcome: Outcome
    example: Example | None = None
    """The understood row; None when it is invalid from the start."""
    reason: str = ""
    """A short name to count by, such as `broken_json`."""
    detail: str = ""
    """What was found, in words."""
    split: str = ""
    """Where a kept row went."""
    cut_tokens: int = 0
    """Tokens that a kept row lost at its end."""

    def to_dict(self) -> dict[str, Any]:
        """Return the row of the ledger file; it holds no content of the example."""
        return {
            "origin": self.origin,
            "source": self.source,
            "outcome": self.outcome,
            "reason": self.reason,
            "detail": self.detail,
            "split": self.split,
            "cut_tokens": self.cut_tokens,
            "id": self.example.id if self.example else "",
        }


def count_rows(entries: Sequence[LedgerEntry]) -> RowCounts:
    """Count how the rows ended: read = kept + invalid + filtered."""
    outcomes = Counter(entry.outcome for entry in entries)
    return RowCounts(
        read=len(entries),
        kept=outcomes["kept"],
        invalid=outcomes["invalid"],
        filtered=outcomes["filtered"],
        cut=sum(entry.cut_tokens > 0 for entry in entries),
    )


def count_reasons(entries: Sequence[LedgerEntry], outcome: Outcome) -> dict[str, int]:
    """Count the rows of one outcome by reason, most frequent first."""
    reasons = Counter(entry.reason for entry in entries if entry.outcome == outcome)
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def list_problems(entries: Sequence[LedgerEntry], outcome: Outcome) -> tuple[str, ...]:
    """Return `file:line: detail` of the first rows of one outcome, and how many more there are."""
    found = [f"{e.origin}: {e.detail}" for e in entries if e.outcome == outcome]
    more = len(found) - NUM_LISTED
    return tuple(found[:NUM_LISTED]) + ((f"and {more} more",) if more > 0 else ())


def check_invalid_rows(entries: Sequence[LedgerEntry], max_invalid_fraction: float) -> None:
    """Stop when more rows are broken than is tolerated.

    Raises:
        RequestError: With the first broken rows and their total.
    """
    rows = count_rows(entries)
    if rows.invalid <= max_invalid_fraction * rows.read:
        return
    raise RequestError(
        message=f"{rows.invalid} of {rows.read} rows are invalid",
        allowed=f"a share of at most {max_invalid_fraction:g} (data.max_invalid_fraction)",
        hint="mend these rows, or raise data.max_invalid_fraction to leave them out",
        problems=list_problems(entries, "invalid"),
    )


def write_ledger(folder: Path, entries: Sequence[LedgerEntry]) -> None:
    """Write `ledger.jsonl`, one line for each input row, and the counts in `ledger.json`."""
    write_jsonl(folder / "ledger.jsonl", (entry.to_dict() for entry in entries))
    kept = Counter(entry.split for entry in entries if entry.outcome == "kept")
    write_json(
        folder / "ledger.json",
        {
            "rows": count_rows(entries).model_dump(),
            "splits": dict(sorted(kept.items())),
            "invalid": count_reasons(entries, "invalid"),
            "filtered": count_reasons(entries, "filtered"),
            "cut_tokens": sum(entry.cut_tokens for entry in entries),
        },
    )
