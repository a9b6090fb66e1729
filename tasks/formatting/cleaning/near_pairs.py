"""Which rows are near one another: candidates by bands of their signatures, then each verified."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
from numpy.typing import NDArray

from configs.errors import RequestError
from tasks.formatting.splits.components import Rows, join_equal, join_pairs
from tasks.formatting.splits.split_hash import mix_bits

Signatures = NDArray[np.uint32]

SMALL_BUCKET = 32  # rows; in larger ones a row is compared with all others at once
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
            agree = np.count_nonzero(self.low[a] == self.low[b], axis=1)
            hits = np.flatnonzero(agree >= self.least)
            exact = self._fetch_rows(a[hits]) == self._fetch_rows(b[hits])
            result[start + hits] = np.count_nonzero(exact, axis=1) >= self.least
        return result

    def hash_bands(self) -> Iterator[NDArray[np.uint64]]:
        """Yield one hash of each row for each band of places.

        There is one band more than places in which two near rows may differ, so that they agree
        in at least one band entirely: no pair is missed.
        """
        num_bands = self.num_places - self.least + 1
        for places in np.array_split(np.arange(self.num_places), num_bands):
            band = slice(places[0], places[-1] + 1)
            pieces = [_hash_places(self.signatures, band), _hash_places(self.stored, band)]
            yield np.concatenate(pieces)

    def _fetch_rows(self, rows: Rows) -> Signatures:
        is_stored = rows >= len(self.signatures)
        result = np.empty((len(rows), self.num_places), np.uint32)
        result[~is_stored] = self.signatures[rows[~is_stored]]
        result[is_stored] = self.stored[rows[is_stored] - len(self.signatures)]
        return result


def find_near(comparison: Comparison, queries: Rows, held_out: Rows) -> Rows:
    """Return for each query a held-out row that is near it, -1 where there is none."""
    found = np.full(len(queries), -1, np.int64)
    if not len(queries) or not len(held_out):
        return found
    for keys in comparison.hash_bands():
        order = held_out[np.argsort(keys[held_out], kind="stable")]
        asking = np.flatnonzero(found < 0)
        first = np.searchsorted(keys[order], keys[queries[asking]], "left")
        counts = np.searchsorted(keys[order], keys[queries[asking]], "right") - first
        for some in _split_counts(counts):
            which = np.repeat(some, counts[some])
            steps = np.arange(len(which)) - np.repeat(
                np.cumsum(counts[some]) - counts[some], counts[some]
            )
            candidates = order[first[which] + steps]
            near = comparison.match_pairs(queries[asking[which]], candidates)
            # Written backwards, so that the first of a query's near rows is the one that stays.
            found[asking[which[near]][::-1]] = candidates[near][::-1]
    return found


def cluster_rows(comparison: Comparison, rows: Rows) -> Rows:
    """Return the cluster of each of the rows: the place of its first row among them.

    Rows that are near one another are of one cluster, directly or through others.
    """
    roots = np.arange(len(rows))
    for keys in comparison.hash_bands():
        order = np.argsort(keys[rows], kind="stable")
        sorted_keys = keys[rows][order]
        starts = np.flatnonzero(np.concatenate([[True], sorted_keys[1:] != sorted_keys[:-1]]))
        sizes = np.diff(np.append(starts, len(order)))
        roots = _join_small_buckets(comparison, rows, roots, order, starts, sizes)
        for large in np.flatnonzero(sizes > SMALL_BUCKET):
            bucket = order[starts[large] : starts[large] + sizes[large]]
            roots = _join_large_bucket(comparison, rows, roots, bucket)
    return roots


def choose_first(comparison: Comparison, rows: Rows) -> Rows:
    """Return for each of the rows, in their order, the earlier one that makes it superfluous.

    A row stays (-1) unless it is near an earlier row that stays, so that every row that goes is
    near one that stays, and no two that stay are near one another.
    """
    roots = cluster_rows(comparison, rows)
    earlier = np.full(len(rows), -1, np.int64)
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], roots[order][1:] != roots[order][:-1]]))
    sizes = np.diff(np.append(starts, len(order)))
    pairs = starts[sizes == 2]
    earlier[order[pairs + 1]] = rows[order[pairs]]
    for start, size in zip(starts[sizes > 2], sizes[sizes > 2], strict=True):
        _choose_in_cluster(comparison, rows, order[start : start + size], earlier)
    return earlier


def _choose_in_cluster(comparison: Comparison, rows: Rows, members: Rows, earlier: Rows) -> None:
    while len(members) > 1:
        first, rest = members[0], members[1:]
        is_near = comparison.match_pairs(np.full(len(rest), rows[first]), rows[rest])
        earlier[rest[is_near]] = rows[first]
        members = rest[~is_near]


def _join_small_buckets(
    comparison: Comparison, rows: Rows, roots: Rows, order: Rows, starts: Rows, sizes: Rows
) -> Rows:
    """Compare each row with the next ones of its bucket: with the first, the second, ..."""
    is_small = (sizes > 1) & (sizes <= SMALL_BUCKET)
    ends = np.repeat(starts + sizes, np.where(is_small, sizes, 0))
    places = np.flatnonzero(np.repeat(is_small, sizes))
    joined: list[tuple[Rows, Rows]] = []
    for step in range(1, SMALL_BUCKET):
        inside = places + step < ends
        places, ends = places[inside], ends[inside]
        first, second = order[places], order[places + step]
        apart = roots[first] != roots[second]
        first, second = first[apart], second[apart]
        is_near = comparison.match_pairs(rows[first], rows[second])
        joined.append((first[is_near], second[is_near]))
    firsts, seconds = zip(*joined, strict=True)
    return join_pairs(roots, np.concatenate(firsts), np.concatenate(seconds))


def _join_large_bucket(comparison: Comparison, rows: Rows, roots: Rows, bucket: Rows) -> Rows:
    """Compare the rows of one bucket one by one with all others, until all are of one cluster."""
    local = join_equal(np.arange(len(bucket)), roots[bucket])
    for place in range(len(bucket) - 1):
        if not local.any():  # the root of all is the first
            break
        later = np.arange(place + 1, len(bucket))
        later = later[local[later] != local[place]]
        same = np.full(len(later), place)
        is_near = comparison.match_pairs(rows[bucket[same]], rows[bucket[later]])
        local = join_pairs(local, same[is_near], later[is_near])
    return join_pairs(roots, bucket, bucket[local])


def _hash_places(signatures: Signatures, band: slice) -> NDArray[np.uint64]:
    keys = np.zeros(len(signatures), np.uint64)
    for start in range(0, len(signatures), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        for column in signatures[chunk, band].astype(np.uint64).T:
            keys[chunk] = mix_bits(keys[chunk] + column)
    return keys


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
