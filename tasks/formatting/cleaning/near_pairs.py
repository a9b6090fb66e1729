"""Which rows are near one another: candidates by bands of their signatures, then each verified."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
from numpy.typing import NDArray

from configs.errors import RequestError
from tasks.formatting.splits.components import Rows
from tasks.formatting.splits.split_hash import mix_bits

Signatures = NDArray[np.uint32]

CHUNK_PAIRS = 1 << 16  # 8 MB of signatures on each side
CHUNK_CANDIDATES = 1 << 20
CHUNK_ROWS = 1 << 14  # a band of them stays in the processor's cache
MAX_COMPARISONS = 4_000_000_000  # some minutes; more means that most rows are alike


class Comparison:
    """Signatures, how far two of them must agree, and how many pairs were compared so far.

    Args:
        signatures: Shape (rows, NUM_PERM); may be memory-mapped.
        stored: Signatures of further rows, numbered after those.
        threshold: Least share of places in which the signatures of two near rows agree.
    """

    def __init__(self, signatures: Signatures, stored: Signatures, threshold: float) -> None:
        self.signatures = signatures
        self.stored = stored
        self.threshold = threshold
        self.num_places = signatures.shape[1]
        self.least = ceil(threshold * self.num_places - 1e-9)
        self.num_compared = 0
        # A quarter of the memory: rows whose last bytes agree in too few places are not near.
        self.low = np.concatenate([signatures.astype(np.uint8), stored.astype(np.uint8)])
        # Nor are those whose last bits differ in too many: 16 bytes tell most pairs apart.
        self.bits = np.packbits(self.low & 1, axis=1).view(np.uint64)

    def match_pairs(self, first: Rows, second: Rows) -> NDArray[np.bool_]:
        """Return which pairs of rows are near one another.

        Raises:
            RequestError: Too many pairs were asked for: the rows are too much alike.
        """
        self.num_compared += len(first)
        if self.num_compared > MAX_COMPARISONS:
            raise _refuse_comparisons(self.threshold)
        result = np.zeros(len(first), np.bool_)
        for start in range(0, len(first), CHUNK_PAIRS):
            a, b = first[start : start + CHUNK_PAIRS], second[start : start + CHUNK_PAIRS]
            differ = np.bitwise_count(self.bits[a] ^ self.bits[b]).sum(axis=1, dtype=np.uint8)
            hits = np.flatnonzero(differ <= self.num_places - self.least)
            agree = np.count_nonzero(self.low[a[hits]] == self.low[b[hits]], axis=1)
            hits = hits[agree >= self.least]
            exact = self._fetch_rows(a[hits]) == self._fetch_rows(b[hits])
            result[start + hits] = np.count_nonzero(exact, axis=1) >= self.least
        return result

    def hash_bands(self, rows: Rows) -> Iterator[NDArray[np.uint64]]:
        """Yield one hash of each of the rows for each band of places.

        There is one band more than places in which two near rows may differ, so that they agree
        in at least one band entirely: no pair is missed.
        """
        num_bands = self.num_places - self.least + 1
        for places in np.array_split(np.arange(self.num_places), num_bands):
            yield self._hash_places(rows, slice(places[0], places[-1] + 1))

    def _hash_places(self, rows: Rows, band: slice) -> NDArray[np.uint64]:
        keys = np.zeros(len(rows), np.uint64)
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            for column in self._fetch_rows(rows[chunk], band).astype(np.uint64).T:
                keys[chunk] = mix_bits(keys[chunk] + column)
        return keys

    def _fetch_rows(self, rows: Rows, band: slice = slice(None)) -> Signatures:
        is_stored = rows >= len(self.signatures)
        if not is_stored.any():
            return self.signatures[rows, band]
        result = np.empty((len(rows), len(range(self.num_places)[band])), np.uint32)
        result[~is_stored] = self.signatures[rows[~is_stored], band]
        result[is_stored] = self.stored[rows[is_stored] - len(self.signatures), band]
        return result


def find_near(comparison: Comparison, queries: Rows, held_out: Rows) -> Rows:
    """Return for each query a held-out row that is near it, -1 where there is none."""
    found = np.full(len(queries), -1, np.int64)
    if not len(queries) or not len(held_out):
        return found
    bands = zip(comparison.hash_bands(queries), comparison.hash_bands(held_out), strict=True)
    for keys, others in bands:
        by_key = np.argsort(others, kind="stable")
        order, known = held_out[by_key], others[by_key]
        asking = np.flatnonzero(found < 0)
        asking = asking[_may_be_among(keys[asking], known)]
        first = np.searchsorted(known, keys[asking], "left")
        ends = np.searchsorted(known, keys[asking], "right")
        _ask_buckets(comparison, queries, found, asking, order, first, ends)
    return found


def _ask_buckets(
    comparison: Comparison,
    queries: Rows,
    found: Rows,
    asking: Rows,
    order: Rows,
    first: Rows,
    ends: Rows,
) -> None:
    """Compare each query that asks with the rows of its bucket until one of them is near.

    With one row, then two more, then four: of many that are alike, few are compared.
    """
    width = 1
    while len(asking):
        counts = np.minimum(ends - first, width)
        for some in _split_counts(counts):
            which = np.repeat(some, counts[some])
            steps = np.arange(len(which)) - np.repeat(
                np.cumsum(counts[some]) - counts[some], counts[some]
            )
            candidates = order[first[which] + steps]
            near = comparison.match_pairs(queries[asking[which]], candidates)
            # Written backwards, so that the first of a query's near rows is the one that stays.
            found[asking[which[near]][::-1]] = candidates[near][::-1]
        first = first + counts
        is_open = (found[asking] < 0) & (first < ends)
        asking, first, ends = asking[is_open], first[is_open], ends[is_open]
        width *= 2


def _may_be_among(keys: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which keys end in the bits of a known one: far faster than to search for all."""
    num_bits = (16 * len(known)).bit_length()  # one key in 16 or fewer passes by chance
    mask = np.uint64((1 << num_bits) - 1)
    is_known = np.zeros(1 << num_bits, np.bool_)
    is_known[known & mask] = True
    found: NDArray[np.bool_] = is_known[keys & mask]
    return found


def _split_counts(counts: Rows) -> Iterator[Rows]:
    """Yield places of positive counts so that the counts of each piece come to a bounded sum."""
    places = np.flatnonzero(counts)
    pieces = np.cumsum(counts[places]) // CHUNK_CANDIDATES
    yield from np.split(places, np.flatnonzero(np.diff(pieces)) + 1)


def _refuse_comparisons(threshold: float) -> RequestError:
    return RequestError(
        message=f"the rows are too much alike to be compared: more than {MAX_COMPARISONS:,} pairs "
        f"might reach the threshold of {threshold:g}",
        where="data.near_duplicates",
        hint="raise data.near_duplicate_threshold (0.9 compares far fewer pairs), leave out text "
        "that all rows share, or set data.near_duplicates: off",
    )
