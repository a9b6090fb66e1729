"""Placing all rows at once: which repeat, which stand near held-out rows, which split each gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.schema import DataConfig
from tasks.formatting.cleaning.near_clusters import choose_first
from tasks.formatting.cleaning.near_pairs import Comparison, find_near
from tasks.formatting.splits.assignments import (
    NO_SPLIT,
    SPLITS,
    Assignments,
    Codes,
    add_rows,
    add_signatures,
)
from tasks.formatting.splits.board import (
    NEAR_HELD_OUT,
    REASONS,
    TEST,
    VALIDATION,
    Board,
    RowColumns,
    find_placed,
    start_board,
)
from tasks.formatting.splits.component_splits import assign_splits
from tasks.formatting.splits.components import Rows, find_first
from tasks.formatting.splits.split_hash import SplitPlan

__all__ = ["REASONS", "Placement", "RowColumns", "place_rows"]


@dataclass(frozen=True)
class Placement:
    """Where each row went, or why it was filtered."""

    reason: NDArray[np.int8]
    """Index into `REASONS`; 0 for a row that stays as it was."""
    other: Rows
    """The row that a filtered row repeats or stands near; -1 where there is none in this data."""
    splits: tuple[str, ...]
    split: NDArray[np.int16]
    """Index into `splits`; -1 for a row that is not kept."""
    assignments: Assignments
    """The stored ones and the new ones."""


def place_rows(
    rows: RowColumns, data: DataConfig, plan: SplitPlan, stored: Assignments
) -> Placement:
    """Filter the training rows that repeat or leak, and give each row that is left its split.

    In this order: exact duplicates; overlap with evaluation sets by prompt or group; rows near a
    held-out row; near-duplicates; splits. A row keeps a stored split, and a row whose group,
    prompt or near-duplicate has one gets the same. Where that would be several, because separate
    rows grew together, nothing stored changes, and new rows that a held-out row shares its group
    or prompt with are filtered.

    Args:
        rows: What is compared.
        data: Which rules apply.
        plan: The shares to split off.
        stored: The splits given so far; those of another `data.split_version` do not count.
    """
    board = start_board(rows, data, stored)
    if data.duplicates == "filter":
        _filter_duplicates(board)
    _filter_overlap(board)
    near = None
    if rows.signatures is not None and data.near_duplicates != "off":
        near = Comparison(rows.signatures, board.known.signatures, data.near_duplicate_threshold)
        _filter_near_held_out(board, near)
        if data.near_duplicates == "filter":
            _filter_near_duplicates(board, near)
    codes = assign_splits(board, plan, data, near)
    return _finish(board, codes)


def _filter_duplicates(board: Board) -> None:
    """Keep the first of equal rows; one with a stored group comes before a new one."""
    training = _list_known_first(board)
    first = training[find_first(board.rows.content[training], board.rows.content[training])]
    board.filter_rows(training, "duplicate", np.where(first == training, -1, first))


def _list_known_first(board: Board) -> Rows:
    """Return the training rows, those that were placed before with the same group first."""
    training = board.list_training()
    is_new = ~find_placed(board.rows, board.known)[training]
    has_no_split = board.known_split[training] == NO_SPLIT
    return training[np.argsort(is_new.astype(np.int8) + has_no_split, kind="stable")]


def _filter_overlap(board: Board) -> None:
    brought = board.list_brought()
    for reason, keys in (("overlap", board.rows.prompt), ("overlap_group", board.rows.group)):
        training = board.list_training()
        found = find_first(keys[training], keys[brought])
        others = np.append(brought, -1)[found]  # -1, where none is found, takes the last: -1
        board.filter_rows(training, reason, others)


def _filter_near_held_out(board: Board, near: Comparison) -> None:
    """Filter training rows near a row of a brought set, or near a stored row that is held out.

    A row is only held against rows of a stricter split: validation gives way to test.
    """
    brought, sources = board.list_brought(), np.array(board.rows.sources)
    is_validation = sources[board.rows.source[brought]] == "validation"
    _filter_near(board, near, brought[~is_validation], board.list_training(), "near_test")
    _filter_near(board, near, brought[is_validation], board.list_training(), "near_validation")
    for code in (TEST, VALIDATION):
        training = board.list_training()
        is_held_out = board.known_split[training] == code
        looser = training[board.known_split[training] < code]
        gone = _list_gone(board, training[is_held_out], code)
        held_out = np.concatenate([training[is_held_out], gone])
        _filter_near(board, near, held_out, looser, NEAR_HELD_OUT[code])


def _list_gone(board: Board, held_out: Rows, code: int) -> Rows:
    """Return the stored signatures of a split whose rows are no longer in the data."""
    known = board.known
    is_gone = ~np.isin(known.signed_content, board.rows.content[held_out])
    return np.flatnonzero(is_gone & (known.signed_split == code)) + len(board.rows.source)


def _filter_near(
    board: Board, near: Comparison, held_out: Rows, training: Rows, reason: str
) -> None:
    found = find_near(near, training, held_out)
    hit = found >= 0
    board.reason[training[hit]] = REASONS.index(reason)
    # A stored signature stands for a row that is no longer in the data.
    board.other[training[hit]] = np.where(found[hit] < len(board.rows.source), found[hit], -1)


def _filter_near_duplicates(board: Board, near: Comparison) -> None:
    training = _list_known_first(board)
    training = training[board.known_split[training] <= 0]
    board.filter_rows(training, "near_duplicate", choose_first(near, training))


def _finish(board: Board, codes: Codes) -> Placement:
    rows = board.rows
    placed = np.flatnonzero(codes != NO_SPLIT)
    assignments = add_rows(
        board.known, rows.content[placed], rows.prompt[placed], rows.group[placed], codes[placed]
    )
    if rows.signatures is not None:
        signed = np.flatnonzero(codes > 0)
        assignments = add_signatures(
            assignments, rows.content[signed], codes[signed], rows.signatures[signed]
        )
    splits = SPLITS + tuple(name for name in rows.sources if name not in SPLITS)
    of_source = np.array([splits.index(name) for name in rows.sources], np.int16)
    split = np.where(rows.source == 0, codes, of_source[rows.source])
    split[~rows.kept] = NO_SPLIT
    return Placement(board.reason, board.other, splits, split.astype(np.int16), assignments)
