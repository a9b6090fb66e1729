"""The split of every row that stays: the stored one of its component, or a first one by hash."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.schema import DataConfig
from tasks.formatting.cleaning.near_clusters import cluster_rows
from tasks.formatting.cleaning.near_pairs import Comparison
from tasks.formatting.splits.assignments import NO_SPLIT, SPLITS, Codes, Digests, find_splits
from tasks.formatting.splits.board import NEAR_HELD_OUT, REASONS, TEST, VALIDATION, Board
from tasks.formatting.splits.components import Rows, find_first, join_equal, join_pairs
from tasks.formatting.splits.split_hash import SplitPlan, mix_bits, place_hashes


def assign_splits(
    board: Board, plan: SplitPlan, data: DataConfig, near: Comparison | None
) -> Codes:
    """Return the split of each training row that stays, and filter those that have none."""
    training = board.list_training()
    roots = _connect_rows(board, training, near if data.near_duplicates == "group" else None)
    known, by_group, by_prompt = _find_stored_splits(board, training)
    strictest = np.maximum(by_group, by_prompt)
    flags = _collect_splits(roots, (known, by_group, by_prompt))
    codes = _place_components(board.rows.group[training], roots, plan, data.split_version)
    for code in range(len(SPLITS)):
        codes[flags == 1 << code] = code
    is_mixed = (flags & (flags - 1)) != 0  # more than one bit
    codes[is_mixed] = np.maximum(known[is_mixed], 0)
    for code, reason in NEAR_HELD_OUT.items():
        leaks = is_mixed & (strictest == code) & (codes < code)
        board.reason[training[leaks]] = REASONS.index(reason)
        board.other[training[leaks]] = _name_held_out(board, training[leaks], training, code)
    result = np.full(len(board.rows.source), NO_SPLIT, np.int8)
    result[training] = np.where(board.reason[training] == 0, codes, NO_SPLIT)
    return result


def _connect_rows(board: Board, training: Rows, near: Comparison | None) -> Rows:
    roots = np.arange(len(training))
    if near is not None:
        loose = np.flatnonzero(board.known_split[training] <= 0)
        clusters = cluster_rows(near, training[loose])
        roots = join_pairs(roots, loose, loose[clusters])
    for keys in (board.rows.group, board.rows.prompt):
        roots = join_equal(roots, keys[training])
    return roots


def _find_stored_splits(board: Board, training: Rows) -> tuple[Codes, Codes, Codes]:
    """Return the stored split of each row itself, of its group and of its prompt."""
    known, rows = board.known_split[training], board.rows
    placed = training[known != NO_SPLIT]
    splits = np.concatenate([board.known.split, board.known_split[placed]])
    by_group = find_splits(
        rows.group[training], np.concatenate([board.known.group, rows.group[placed]]), splits
    )
    by_prompt = find_splits(
        rows.prompt[training], np.concatenate([board.known.prompt, rows.prompt[placed]]), splits
    )
    return known, by_group, by_prompt


def _collect_splits(roots: Rows, splits: tuple[Codes, ...]) -> NDArray[np.int8]:
    """Return for each row the splits that its component touches, one bit for each."""
    flags = np.zeros(len(roots), np.int8)
    for codes in splits:
        has_split = codes != NO_SPLIT
        bits = np.left_shift(1, codes[has_split]).astype(np.int8)
        np.bitwise_or.at(flags, roots[has_split], bits)
    return flags[roots]


def _place_components(groups: Digests, roots: Rows, plan: SplitPlan, split_version: int) -> Codes:
    """Return the split of each row by the hash of its component's group, a single one as a rule.

    Of several groups it is the one whose hash, mixed once more, is the smallest: the smallest
    hash itself would make low places likely.
    """
    mixed = mix_bits(groups)
    least = np.full(len(groups), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, roots, mixed)
    chosen = np.zeros(len(groups), np.uint64)
    is_chosen = mixed == least[roots]
    chosen[roots[is_chosen]] = groups[is_chosen]
    places = place_hashes(chosen[roots], split_version)
    codes = np.zeros(len(groups), np.int8)
    codes[places < plan.validation_fraction] = VALIDATION
    codes[(places >= 1 - plan.test_fraction) & (codes != VALIDATION)] = TEST
    return codes


def _name_held_out(board: Board, leaks: Rows, training: Rows, code: int) -> Rows:
    """Return a held-out row of this data with each leaking row's prompt or group, else -1."""
    held_out = training[board.known_split[training] == code]
    named = np.append(held_out, -1)
    by_prompt = named[find_first(board.rows.prompt[leaks], board.rows.prompt[held_out])]
    by_group = named[find_first(board.rows.group[leaks], board.rows.group[held_out])]
    return np.where(by_prompt >= 0, by_prompt, by_group)
