"""The row ledger: how each input row ended, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from configs.errors import RequestError
from tasks.records.handles import RowCounts
from tasks.records.writing import write_json

Outcome = Literal["kept", "invalid", "filtered"]
TRAIN = "train"
TRAINING_SPLITS = frozenset({TRAIN, "validation"})  # what training reads
ANY_REASON = ""
NUM_LISTED = 10  # problems shown in an error; the ledger file has them all


class AllDroppedError(RequestError):
    """No row of a source is left; the ledger says why of each, and stays."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One input row and what became of it; it holds no content of the row."""

    source: str
    """`train`, or the name of the evaluation set that the row came with."""
    origin: str
    """File and line."""
    outcome: Outcome
    reason: str = ""
    """A short name to count by, such as `broken_json`."""
    detail: str = ""
    """What was found, in words."""
    split: str = ""
    """Where a kept row went."""
    cut_tokens: int = 0
    """Tokens that a kept row lost at its end."""
    untrained_turns: int = 0
    """Assistant turns of a kept row that should be trained on and cannot be."""
    other_split: str = ""
    """The split of the row that a filtered row repeats or stands near."""
    id: str = ""
    """The example's id; empty for a row that was not understood."""

    def to_dict(self) -> dict[str, Any]:
        """Return the row of the ledger file."""
        return {
            "origin": self.origin,
            "source": self.source,
            "outcome": self.outcome,
            "reason": self.reason,
            "detail": self.detail,
            "split": self.split,
            "cut_tokens": self.cut_tokens,
            "untrained_turns": self.untrained_turns,
            "other_split": self.other_split,
            "id": self.id,
        }


@dataclass
class Tally:
    """Counts of ledger entries, and the first ones that were not kept, in reading order."""

    counts: Counter[tuple[str, Outcome, str]] = field(default_factory=Counter)
    """Rows by source, outcome and reason."""
    splits: Counter[str] = field(default_factory=Counter)
    """Kept rows by split."""
    cut_rows: int = 0
    cut_tokens: int = 0
    untrained_turns: int = 0
    problems: dict[tuple[str, Outcome, str], list[str]] = field(default_factory=dict)
    """`file:line: detail` of the first rows left out, by source, outcome and reason; under the
    reason "" those of any."""

    def add(self, entry: LedgerEntry) -> None:
        """Count an entry."""
        self.counts[entry.source, entry.outcome, entry.reason] += 1
        if entry.outcome == "kept":
            self.splits[entry.split] += 1
            self.cut_rows += entry.cut_tokens > 0
            self.cut_tokens += entry.cut_tokens
            self.untrained_turns += entry.untrained_turns
            return
        for reason in (entry.reason, ANY_REASON):
            listed = self.problems.setdefault((entry.source, entry.outcome, reason), [])
            if len(listed) < NUM_LISTED:
                listed.append(f"{entry.origin}: {entry.detail}")

    def merge(self, other: Tally) -> None:
        """Add what a later tally counted."""
        self.counts += other.counts
        self.splits += other.splits
        self.cut_rows += other.cut_rows
        self.cut_tokens += other.cut_tokens
        self.untrained_turns += other.untrained_turns
        for key, listed in other.problems.items():
            mine = self.problems.setdefault(key, [])
            mine += listed[: NUM_LISTED - len(mine)]

    def to_dict(self) -> dict[str, Any]:
        """Return the tally as a JSON value."""
        return {
            "counts": [[*key, count] for key, count in self.counts.items()],
            "splits": dict(self.splits),
            "cut_rows": self.cut_rows,
            "cut_tokens": self.cut_tokens,
            "untrained_turns": self.untrained_turns,
            "problems": [[*key, listed] for key, listed in self.problems.items()],
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Tally:
        """Return the tally that `to_dict` gave."""
        return cls(
            Counter({(source, end, why): count for source, end, why, count in value["counts"]}),
            Counter(value["splits"]),
            value["cut_rows"],
            value["cut_tokens"],
            value["untrained_turns"],
            {(source, end, why): listed for source, end, why, listed in value["problems"]},
        )


def tally_entries(entries: Iterable[LedgerEntry]) -> Tally:
    """Return the tally of some entries."""
    tally = Tally()
    for entry in entries:
        tally.add(entry)
    return tally


def count_rows(tally: Tally) -> RowCounts:
    """Count how the rows ended: read = kept + invalid + filtered."""
    outcomes: Counter[str] = Counter()
    for (_, outcome, _), count in tally.counts.items():
        outcomes[outcome] += count
    return RowCounts(
        read=outcomes.total(),
        kept=outcomes["kept"],
        invalid=outcomes["invalid"],
        filtered=outcomes["filtered"],
        cut=tally.cut_rows,
    )


def count_reasons(tally: Tally, outcome: Outcome) -> dict[str, int]:
    """Count the rows of one outcome by reason, most frequent first."""
    reasons: Counter[str] = Counter()
    for (_, ended, reason), count in tally.counts.items():
        if ended == outcome:
            reasons[reason] += count
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def list_problems(
    tally: Tally, outcome: Outcome, *, source: str | None = None, reason: str = ANY_REASON
) -> tuple[str, ...]:
    """Return `file:line: detail` of the first rows of one outcome, and how many more there are."""
    found = [
        text
        for (of, ended, why), texts in tally.problems.items()
        if ended == outcome and source in {None, of} and why == reason
        for text in texts
    ][:NUM_LISTED]
    total = sum(
        count
        for (of, ended, why), count in tally.counts.items()
        if ended == outcome and source in {None, of} and reason in {ANY_REASON, why}
    )
    more = total - len(found)
    return tuple(found) + ((f"and {more} more",) if more > 0 else ())


def check_invalid_rows(tally: Tally, max_invalid_fraction: float) -> None:
    """Stop when more rows are broken than is tolerated.

    Raises:
        RequestError: With the first broken rows and their total.
    """
    rows = count_rows(tally)
    if rows.invalid <= max_invalid_fraction * rows.read:
        return
    raise RequestError(
        message=f"{rows.invalid} of {rows.read} rows are invalid",
        allowed=f"a share of at most {max_invalid_fraction:g} (data.max_invalid_fraction)",
        hint="mend these rows, or raise data.max_invalid_fraction to leave them out",
        problems=list_problems(tally, "invalid"),
    )


def write_counts(path: Path, tally: Tally, findings: Mapping[str, int]) -> None:
    """Write the counts of the ledger, `ledger.json`, with the rows by what cleaning found."""
    write_json(
        path,
        {
            "rows": count_rows(tally).model_dump(),
            "splits": dict(sorted(tally.splits.items())),
            "invalid": count_reasons(tally, "invalid"),
            "filtered": count_reasons(tally, "filtered"),
            "cut_tokens": tally.cut_tokens,
            "untrained_turns": tally.untrained_turns,
            "findings": dict(sorted(findings.items())),
        },
    )
