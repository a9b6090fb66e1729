"""Connected components of rows, and look-ups by key, over whole columns at once."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Keys = NDArray[np.uint64]
Scalar = TypeVar("Scalar", bound=np.generic)


def join_pairs(roots: Rows, first: Rows, second: Rows) -> Rows:
    """Return the root of each row's component, the smallest row in it, after joining pairs.

    Args:
        roots: The root of each row so far; `np.arange(rows)` when nothing is joined.
        first: One row of each pair.
        second: The other one.
    """
    roots = roots.copy()
    while len(first):
        low = np.minimum(roots[first], roots[second])
        high = np.maximum(roots[first], roots[second])
        open_pairs = low != high
        first, second = first[open_pairs], second[open_pairs]
        np.minimum.at(roots, high[open_pairs], low[open_pairs])
        roots = _follow_roots(roots)
    return roots


def join_equal(roots: Rows, keys: NDArray[Scalar]) -> Rows:
    """Return the roots after joining all rows with equal keys."""
    order = np.argsort(keys, kind="stable")
    is_same = keys[order][1:] == keys[order][:-1]
    return join_pairs(roots, order[:-1][is_same], order[1:][is_same])


def find_first(keys: Keys, known: Keys) -> Rows:
    """Return where each key stands first among the known ones; -1 for a key that does not."""
    if not len(known):
        return np.full(len(keys), -1, np.int64)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], keys), len(known) - 1)
    found = order[place]
    return np.where(known[found] == keys, found, -1)


def _follow_roots(roots: Rows) -> Rows:
    while True:
        further = roots[roots]
        if np.array_equal(further, roots):
            return roots
        roots = further
