"""The rows that are placed, in columns, and what was found out about them so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.schema import DataConfig
from tasks.formatting.splits.assignments import (
    NO_SPLIT,
    SPLITS,
    Assignments,
    Codes,
    Digests,
    find_splits,
    free_brought_sets,
    start_assignments,
)
from tasks.formatting.splits.components import Rows
from tasks.formatting.splits.split_hash import mix_bits

REASONS = (
    "", "duplicate", "near_duplicate", "overlap", "overlap_group", "near_test", "near_validation",
)  # fmt: skip
VALIDATION, TEST = SPLITS.index("validation"), SPLITS.index("test")
NEAR_HELD_OUT = {VALIDATION: "near_validation", TEST: "near_test"}


@dataclass(frozen=True)
class RowColumns:
    """What placing needs of each row, in reading order: one element for each row."""

    sources: tuple[str, ...]
    """`train` first, then the evaluation sets that the source brings, sorted."""
    source: NDArray[np.int16]
    """Index into `sources`."""
    kept: NDArray[np.bool_]
    """Whether the row is understood and was not filtered before."""
    content: Digests
    """First 8 bytes of `digest_content`, as are the others of theirs."""
    prompt: Digests
    group: Digests
    """`splits.hash_group` of the group key."""
    signatures: NDArray[np.uint32] | None
    """Shape (rows, NUM_PERM), may be memory-mapped; None when `data.near_duplicates` is off."""


@dataclass(frozen=True)
class Board:
    """The rows and what was found out about them so far; the arrays are written to."""

    rows: RowColumns
    known: Assignments
    known_split: Codes
    """The stored split of each training row, by its content; -1 for a new row."""
    reason: NDArray[np.int8]
    other: Rows

    def list_training(self) -> Rows:
        """Return the training rows that are still kept."""
        return np.flatnonzero(self.rows.kept & (self.rows.source == 0) & (self.reason == 0))

    def list_brought(self) -> Rows:
        """Return the rows of the evaluation sets that the source brings."""
        return np.flatnonzero(self.rows.kept & (self.rows.source > 0))

    def filter_rows(self, rows: Rows, reason: str, others: Rows) -> None:
        """Filter those of the rows that have another row (not -1) to name."""
        has_other = others >= 0
        self.reason[rows[has_other]] = REASONS.index(reason)
        self.other[rows[has_other]] = others[has_other]


def start_board(rows: RowColumns, data: DataConfig, stored: Assignments) -> Board:
    """Return the board before anything is found out; rows of brought sets are freed."""
    if stored.split_version != data.split_version:
        stored = start_assignments(data.split_version)
    known = free_brought_sets(stored, frozenset(rows.sources[1:]))
    known_split = _find_known_rows(rows, known)
    number = len(rows.source)
    return Board(rows, known, known_split, np.zeros(number, np.int8), np.full(number, -1))


def _find_known_rows(rows: RowColumns, known: Assignments) -> Codes:
    """Return the stored split of each training row, by its content.

    A stored content that newly turns up in a group of another split is a new row: it must not
    move the rows of that group.
    """
    split = find_splits(rows.content, known.content, known.split)
    of_group = find_splits(rows.group, known.group, known.split)
    stands_apart = (of_group != NO_SPLIT) & (of_group != split)
    split[stands_apart & ~find_placed(rows, known)] = NO_SPLIT
    split[rows.source > 0] = NO_SPLIT
    return split


def find_placed(rows: RowColumns, known: Assignments) -> NDArray[np.bool_]:
    """Return which rows were placed before with their group."""
    stored = mix_bits(known.content) ^ known.group
    return np.isin(mix_bits(rows.content) ^ rows.group, stored)
