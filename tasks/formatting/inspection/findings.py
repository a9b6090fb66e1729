"""What the formatted data hold: lengths, roles, balance, repeats, leakage, findings, warnings."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tasks.formatting.inspection.length_plot import Bin, bin_lengths
from tasks.formatting.inspection.lengths import (
    Distribution,
    Lengths,
    list_splits,
    read_token_lengths,
    read_trained_lengths,
    summarize_lengths,
)
from tasks.formatting.inspection.near_report import NearRows
from tasks.formatting.ledger import TRAIN
from tasks.records.writing import iterate_jsonl, read_json

DUPLICATES = ("duplicate", "near_duplicate")
OVERLAPS = ("overlap", "overlap_group")
LEAKS = (*OVERLAPS, "near_test", "near_validation")
NEAR_KEPT = "near_kept"  # a row near another one that no rule filtered
UNNAMED_SET = "an evaluation set"
NO_VALUE = "(none)"
OTHER_VALUES = "(other values)"
NUM_LISTED = 10
MAX_VALUES = 50  # a field with more values is no class; the rest is counted together


@dataclass(frozen=True)
class Inspection:
    """What there is to know of formatted data, from its files alone."""

    rows: dict[str, int]
    """read = kept + invalid + filtered; cut."""
    splits: dict[str, int]
    """Kept rows by split."""
    invalid: dict[str, int]
    filtered: dict[str, int]
    """Rows left out, by reason."""
    lengths: dict[str, dict[str, Distribution]]
    """By unit (`characters`, `tokens`, `trained_tokens`), then by split."""
    histogram: tuple[Bin, ...]
    """The lengths of all kept rows, in tokens."""
    roles: dict[str, int]
    """Turns by role; empty for texts."""
    num_empty_system_turns: int
    untrained_turns: int
    """Assistant turns that should be trained on and cannot be, as the chat template writes them."""
    by: str
    """The field of `balance`."""
    balance: dict[str, dict[str, int]]
    """Rows by the field's value, then by split; empty where no row has the field."""
    duplicates: dict[str, int]
    """Training rows that repeat another, exactly or nearly; `near_kept` ones were not filtered."""
    leakage: dict[str, dict[str, int]]
    """Training rows too near to an evaluation set, by set, then by reason."""
    findings: dict[str, int]
    """Rows that hold what looks like personal or secret data, by kind."""
    trained_fraction: float
    """Share of the training split's tokens that are trained on."""
    evaluation_sets: tuple[str, ...]
    """Sets that came with the source; a split that was split off is none."""
    problems: tuple[str, ...]
    """`file:line: detail` of the first invalid rows; the ledger has them all."""


@dataclass
class _Tally:
    """What the examples of all splits say, counted row by row."""

    characters: dict[str, array[int]] = field(default_factory=dict)
    roles: Counter[str] = field(default_factory=Counter)
    num_empty_system_turns: int = 0
    values: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any], split: str, by: str) -> None:
        turns = row["messages"]
        self.characters[split].append(len(row["text"]) + sum(len(t["content"]) for t in turns))
        self.roles.update(turn["role"] for turn in turns)
        self.num_empty_system_turns += sum(
            turn["role"] == "system" and not turn["content"].strip() for turn in turns
        )
        value = row["fields"].get(by)
        self.values[split][NO_VALUE if value is None else str(value)] += 1


@dataclass
class _LedgerSummary:
    """What the ledger file says beyond its counts."""

    leakage: dict[str, Counter[str]] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def describe_data(folder: Path, *, by: str = "kind", near: NearRows | None = None) -> Inspection:
    """Describe the files that the format stage wrote.

    Args:
        folder: Holds `ledger.json`, `ledger.jsonl`, `examples/` and `tokens/`.
        by: The field whose balance is shown.
        near: What was found of near rows, if it was looked for.
    """
    ledger = read_json(folder / "ledger.json")
    splits = list_splits(folder)
    tally = _Tally()
    for split in splits:
        tally.characters[split], tally.values[split] = array("q"), Counter()
        for row in iterate_jsonl(folder / "examples" / f"{split}.jsonl"):
            tally.add(row, split, by)
    tokens = {split: read_token_lengths(folder, split) for split in splits}
    trained = {split: read_trained_lengths(folder, split) for split in splits}
    summary = _read_ledger(folder / "ledger.jsonl")
    characters = {name: np.array(found, np.int64) for name, found in tally.characters.items()}
    return Inspection(
        rows=ledger["rows"],
        splits={split: len(tokens[split]) for split in splits},
        invalid=_sort_counts(ledger["invalid"]),
        filtered=_sort_counts(ledger["filtered"]),
        lengths={
            "characters": _summarize_all(characters),
            "tokens": _summarize_all(tokens),
            "trained_tokens": _summarize_all(trained),
        },
        histogram=bin_lengths(np.concatenate(list(tokens.values()))),
        roles=_sort_counts(tally.roles),
        num_empty_system_turns=tally.num_empty_system_turns,
        untrained_turns=ledger["untrained_turns"],
        by=by,
        balance=_pivot_values(tally.values),
        duplicates=_count_duplicates(ledger["filtered"], near),
        leakage=_count_leaks(summary.leakage, near),
        findings=_sort_counts(ledger.get("findings", {})),
        trained_fraction=float(trained[TRAIN].sum() / max(1, tokens[TRAIN].sum())),
        evaluation_sets=tuple(sorted(summary.sources - {TRAIN})),
        problems=tuple(summary.problems),
    )


def _summarize_all(lengths: Mapping[str, Lengths]) -> dict[str, Distribution]:
    return {split: summarize_lengths(found) for split, found in lengths.items()}


def _read_ledger(path: Path) -> _LedgerSummary:
    summary = _LedgerSummary()
    for entry in iterate_jsonl(path):
        summary.sources.add(entry["source"])
        if entry["outcome"] == "filtered" and entry["reason"] in LEAKS:
            name = entry["other_split"] or UNNAMED_SET
            summary.leakage.setdefault(name, Counter())[entry["reason"]] += 1
        if entry["outcome"] == "invalid" and len(summary.problems) < NUM_LISTED:
            summary.problems.append(f"{entry['origin']}: {entry['detail']}")
    return summary


def _count_duplicates(filtered: Mapping[str, int], near: NearRows | None) -> dict[str, int]:
    counts = {reason: filtered.get(reason, 0) for reason in DUPLICATES}
    return counts | ({NEAR_KEPT: near.num_training} if near else {})


def _count_leaks(
    leakage: Mapping[str, Counter[str]], near: NearRows | None
) -> dict[str, dict[str, int]]:
    kept = {name: count for name, count in near.held_out.items() if count} if near else {}
    return {
        name: _sort_counts(leakage.get(name, Counter()))
        | ({NEAR_KEPT: kept[name]} if name in kept else {})
        for name in sorted({*leakage, *kept})
    }


def _sort_counts(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _pivot_values(values: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """Turn counts by split and value into counts by value and split, most frequent first."""
    total: Counter[str] = sum(values.values(), Counter())
    if set(total) <= {NO_VALUE}:
        return {}
    ranked = list(_sort_counts(total))
    shown = {value: {s: counts[value] for s, counts in values.items()} for value in ranked}
    rest = ranked[MAX_VALUES:]
    if rest:
        others = {split: sum(shown[v][split] for v in rest) for split in values}
        shown = {value: shown[value] for value in ranked[:MAX_VALUES]}
        shown[f"{OTHER_VALUES[:-1]}: {len(rest)})"] = others
    return shown
