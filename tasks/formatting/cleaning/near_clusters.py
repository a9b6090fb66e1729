"""Clusters of rows that are near one another, and the rows of each that stay."""

from __future__ import annotations

import numpy as np

from tasks.formatting.cleaning.near_pairs import Comparison, find_near
from tasks.formatting.splits.components import Rows, join_pairs

SMALL_BUCKET = 1024  # rows; up to here each row is compared with the next ones of its bucket
STEP_PAIRS = 1024  # compared in the time that it takes to ask for it
NUM_ROUNDS = 16  # in which most clusters are settled; each goes over all rows that are left
SETTLED_AT_ONCE = 1024  # rows, of which all pairs are compared


def cluster_rows(comparison: Comparison, rows: Rows) -> Rows:
    """Return the cluster of each of the rows: the place of its first row among them.

    Rows that are near one another are of one cluster, directly or through others.
    """
    roots = np.arange(len(rows))
    if len(rows) < 2:
        return roots
    for keys in comparison.hash_bands(rows):
        order = np.argsort(keys, kind="stable")
        starts = _find_starts(keys[order])
        sizes = np.diff(np.append(starts, len(order)))
        roots = _join_small_buckets(comparison, rows, roots, order, starts, sizes)
        roots = _join_large_buckets(comparison, rows, roots, order, starts, sizes)
    return roots


def choose_first(comparison: Comparison, rows: Rows) -> Rows:
    """Return for each of the rows, in their order, the earlier one that makes it superfluous.

    A row stays (-1) unless it is near an earlier row that stays, so that every row that goes is
    near one that stays, and no two that stay are near one another.
    """
    roots = cluster_rows(comparison, rows)
    earlier = np.full(len(rows), -1, np.int64)
    left = np.argsort(roots, kind="stable")
    for _ in range(NUM_ROUNDS):  # the first row of each cluster stays, and leaves the cluster
        if not len(left):
            return earlier
        starts = _find_starts(roots[left])
        sizes = np.diff(np.append(starts, len(left)))
        firsts = np.repeat(left[starts], sizes)
        is_rest = firsts != left
        left, firsts = left[is_rest], firsts[is_rest]
        is_near = comparison.match_pairs(rows[firsts], rows[left])
        earlier[left[is_near]] = rows[firsts[is_near]]
        left = left[~is_near]
    earlier[left] = _settle_rows(comparison, rows[left])
    return earlier


def _settle_rows(comparison: Comparison, rows: Rows) -> Rows:
    """Return for each of the rows an earlier one that stays and is near it; -1 where it stays.

    By halves: of the second, what is near a row of the first that stays goes, and the rest is
    settled among itself. In rounds, a chain of rows through a whole file would take one round for
    each row that stays, each over all rows that are left.
    """
    if len(rows) <= SETTLED_AT_ONCE:
        return _settle_few(comparison, rows)
    first, second = np.split(rows, [len(rows) // 2])
    of_first = _settle_rows(comparison, first)
    of_second = find_near(comparison, second, first[of_first < 0])
    is_left = of_second < 0
    of_second[is_left] = _settle_rows(comparison, second[is_left])
    return np.concatenate([of_first, of_second])


def _settle_few(comparison: Comparison, rows: Rows) -> Rows:
    earlier = np.full(len(rows), -1, np.int64)
    first, second = np.triu_indices(len(rows), 1)
    is_near = comparison.match_pairs(rows[first], rows[second])
    first, second = first[is_near], second[is_near]
    ends = np.searchsorted(first, np.arange(len(rows)), "right")
    for row in np.unique(first):
        if earlier[row] < 0:
            near = second[ends[row - 1] if row else 0 : ends[row]]
            near = near[earlier[near] < 0]
            earlier[near] = rows[row]
    return earlier


def _find_starts(sorted_keys: np.ndarray) -> Rows:
    """Return where each run of equal keys begins."""
    return np.flatnonzero(np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]]))


def _join_small_buckets(
    comparison: Comparison, rows: Rows, roots: Rows, order: Rows, starts: Rows, sizes: Rows
) -> Rows:
    """Compare each row with the next ones of its bucket: with the first, the second, ...

    What is found is joined after 1, 2, 4, ... steps, for it goes over all rows; buckets that are
    of one cluster by then are done.
    """
    width = 1
    while True:
        grouped = roots[order]
        is_apart = np.minimum.reduceat(grouped, starts) != np.maximum.reduceat(grouped, starts)
        is_open = is_apart & (sizes > width) & (sizes <= SMALL_BUCKET)
        if not is_open.any():
            return roots
        ends = np.repeat((starts + sizes)[is_open], sizes[is_open])
        places = np.flatnonzero(np.repeat(is_open, sizes))
        joined: list[tuple[Rows, Rows]] = []
        for step in range(width, 2 * width):
            inside = places + step < ends
            places, ends = places[inside], ends[inside]
            first, second = order[places], order[places + step]
            apart = roots[first] != roots[second]
            first, second = first[apart], second[apart]
            is_near = comparison.match_pairs(rows[first], rows[second])
            joined.append((first[is_near], second[is_near]))
        firsts, seconds = zip(*joined, strict=True)
        roots = join_pairs(roots, np.concatenate(firsts), np.concatenate(seconds))
        width *= 2


def _join_large_buckets(
    comparison: Comparison, rows: Rows, roots: Rows, order: Rows, starts: Rows, sizes: Rows
) -> Rows:
    """Compare the rows of large buckets; what is found is joined once, for it goes over all."""
    grouped = roots[order]
    is_apart = np.minimum.reduceat(grouped, starts) != np.maximum.reduceat(grouped, starts)
    joined: list[tuple[Rows, Rows]] = []
    for bucket in np.flatnonzero(is_apart & (sizes > SMALL_BUCKET)):
        members = order[starts[bucket] : starts[bucket] + sizes[bucket]]
        joined += _compare_large_bucket(comparison, rows, members, roots[members])
    if not joined:
        return roots
    firsts, seconds = zip(*joined, strict=True)
    return join_pairs(roots, np.concatenate(firsts), np.concatenate(seconds))


def _compare_large_bucket(
    comparison: Comparison, rows: Rows, members: Rows, labels: Rows
) -> list[tuple[Rows, Rows]]:
    """Return the pairs of clusters of a bucket that are one; their labels stand for them.

    The largest cluster grows: its rows are compared with those outside, and each cluster that is
    reached joins it as a whole. Where all rows are alike, the first one reaches nearly all of
    them. What cannot be reached is gone through again by itself, so that no pair is compared twice.
    """
    joined: list[tuple[Rows, Rows]] = []
    while len(members):
        names, counts = np.unique(labels, return_counts=True)
        root = names[counts.argmax()]
        is_inside = labels == root
        asking = [members[is_inside]]
        members, labels = members[~is_inside], labels[~is_inside]
        while asking and len(members):
            some, rest = np.split(asking.pop(), [max(1, STEP_PAIRS // len(members))])
            asking += [rest] if len(rest) else []
            first, second = np.repeat(some, len(members)), np.tile(members, len(some))
            is_near = comparison.match_pairs(rows[first], rows[second])
            is_hit = is_near.reshape(len(some), -1).any(axis=0)
            if is_hit.any():
                reached = np.unique(labels[is_hit])
                joined.append((np.full(len(reached), root), reached))
                is_reached = np.isin(labels, reached)
                asking.append(members[is_reached])
                members, labels = members[~is_reached], labels[~is_reached]
    return joined
