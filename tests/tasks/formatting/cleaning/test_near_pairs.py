from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from tasks.formatting.cleaning import near_clusters, near_pairs
from tasks.formatting.cleaning.near_clusters import choose_first, cluster_rows
from tasks.formatting.cleaning.near_duplicates import NUM_PERM
from tasks.formatting.cleaning.near_pairs import Comparison, find_near
from tasks.formatting.splits.components import join_pairs

NOTHING = np.zeros((0, NUM_PERM), np.uint32)


def make_signatures(seed: int, rows: int, families: int, noise: float) -> np.ndarray:
    """Rows of a family agree in about (1 - noise)² of their places."""
    random = np.random.default_rng(seed)
    bases = random.integers(0, 2**32, (families, NUM_PERM), np.uint32)
    signatures = bases[random.integers(0, families, rows)]
    changed = random.random(signatures.shape) < noise * random.random((rows, 1)) * 2
    return np.where(changed, random.integers(0, 2**32, signatures.shape, np.uint32), signatures)


def find_pairs(signatures: np.ndarray, threshold: float) -> np.ndarray:
    agree = (signatures[:, None] == signatures[None]).sum(2)
    return np.asarray(agree >= threshold * NUM_PERM - 1e-9)


CASES = st.tuples(
    st.integers(0, 10**6), st.integers(1, 120), st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.2])
)
THRESHOLDS = st.sampled_from([0.7, 0.8, 0.9, 1.0])


@settings(max_examples=40, deadline=None)
@given(CASES, THRESHOLDS)
def test_no_near_pair_is_missed_and_none_is_made_up(
    case: tuple[int, int, int, float], threshold: float
) -> None:
    signatures = make_signatures(*case)
    near = find_pairs(signatures, threshold)
    half = len(signatures) // 2
    rows = np.arange(len(signatures))
    comparison = Comparison(signatures[:half], signatures[half:], threshold)
    found = find_near(comparison, rows[:half], rows[half:])
    assert ((found >= 0) == near[:half, half:].any(1)).all()
    assert all(near[query, other] for query, other in enumerate(found) if other >= 0)


@settings(max_examples=40, deadline=None)
@given(CASES, THRESHOLDS)
def test_clusters_are_the_connected_components(
    case: tuple[int, int, int, float], threshold: float
) -> None:
    signatures = make_signatures(*case)
    reach = find_pairs(signatures, threshold)
    for _ in range(7):  # 2^7 steps reach every row of 120
        reach = (reach.astype(np.int32) @ reach) > 0
    roots = cluster_rows(Comparison(signatures, NOTHING, threshold), np.arange(len(signatures)))
    assert (roots == reach.argmax(1)).all()


@settings(max_examples=40, deadline=None)
@given(CASES, THRESHOLDS, st.randoms(use_true_random=False))
def test_a_row_goes_when_it_is_near_an_earlier_row_that_stays(
    case: tuple[int, int, int, float], threshold: float, random: object
) -> None:
    signatures = make_signatures(*case)
    rows = list(range(len(signatures)))
    random.shuffle(rows)  # type: ignore[attr-defined]
    earlier = choose_first(Comparison(signatures, NOTHING, threshold), np.array(rows))
    near = find_pairs(signatures, threshold)
    kept: list[int] = []
    for row, other in zip(rows, earlier, strict=True):
        first = next((stays for stays in kept if near[row, stays]), -1)
        assert other == first
        if first < 0:
            kept.append(row)


@settings(max_examples=40, deadline=None)
@given(CASES, THRESHOLDS)
def test_what_is_settled_by_halves_is_near_a_row_that_stays_and_those_are_not_near(
    case: tuple[int, int, int, float], threshold: float
) -> None:
    signatures = make_signatures(*case)
    near = find_pairs(signatures, threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_clusters, "NUM_ROUNDS", 1)
        patch.setattr(near_clusters, "SETTLED_AT_ONCE", 5)
        comparison = Comparison(signatures, NOTHING, threshold)
        earlier = choose_first(comparison, np.arange(len(signatures)))
    for row, other in enumerate(earlier):
        if other < 0:
            assert not (near[row, :row] & (earlier[:row] < 0)).any()
        else:
            assert other < row
            assert earlier[other] < 0
            assert near[row, other]


def test_a_chain_through_the_whole_file_is_not_gone_through_row_by_row() -> None:
    # Windows of one text: each row is near those beside it, and all are one cluster.
    random = np.random.default_rng(0)
    changes = random.random((20_000, NUM_PERM)) < 1 / 50
    values = random.integers(0, 2**32, (NUM_PERM, 1 + int(changes.sum(0).max())), np.uint32)
    signatures = values[np.arange(NUM_PERM), np.cumsum(changes, axis=0)]
    comparison = Comparison(signatures, NOTHING, 0.8)
    rows = random.permutation(len(signatures))
    stays = np.sort(rows[choose_first(comparison, rows) < 0])
    assert (signatures[stays[1:]] == signatures[stays[:-1]]).mean(1).max() < 0.8
    assert np.diff(stays).max() < 50
    assert comparison.num_compared < 200 * len(rows)


def test_many_copies_are_compared_in_one_pass() -> None:
    signatures = np.repeat(make_signatures(0, 1, 1, 0), 50_000, axis=0)
    comparison = Comparison(signatures, NOTHING, 0.8)
    assert not cluster_rows(comparison, np.arange(50_000)).any()
    assert comparison.num_compared < 50_000


def test_what_large_buckets_find_is_joined_once_a_band(monkeypatch: pytest.MonkeyPatch) -> None:
    # To join goes over all rows: done for each bucket, the time is that of rows times buckets.
    num_joined = 0

    def count_join(*args: np.ndarray) -> np.ndarray:
        nonlocal num_joined
        num_joined += 1
        return join_pairs(*args)

    monkeypatch.setattr(near_clusters, "join_pairs", count_join)
    signatures = make_signatures(0, 4000, 40, 0.05)
    comparison = Comparison(signatures, NOTHING, 0.8)
    assert len(np.unique(cluster_rows(comparison, np.arange(4000)))) == 40
    num_bands = len(list(comparison.hash_bands(np.arange(1))))
    assert num_joined <= num_bands * (1 + near_clusters.SMALL_BUCKET.bit_length())


def test_a_stranger_among_many_copies_costs_one_comparison_with_each() -> None:
    signatures = np.repeat(make_signatures(0, 1, 1, 0), 3000, axis=0)
    signatures[1500, 20:] += 1  # in the buckets of a few bands, and near nothing
    comparison = Comparison(signatures, NOTHING, 0.8)
    roots = cluster_rows(comparison, np.arange(3000))
    assert roots[1500] == 1500
    assert np.count_nonzero(roots) == 1
    assert comparison.num_compared < 8 * 3000


@pytest.mark.parametrize("num_held_out", [100, 1000])
def test_a_query_stops_at_the_first_row_that_is_near(num_held_out: int) -> None:
    signatures = np.repeat(make_signatures(0, 1, 1, 0), 1000 + num_held_out, axis=0)
    comparison = Comparison(signatures[:1000], signatures[1000:], 0.8)
    found = find_near(comparison, np.arange(1000), np.arange(1000, 1000 + num_held_out))
    assert (found == 1000).all()
    assert comparison.num_compared == 1000  # and not a thousand for each row held out


def test_rows_that_are_all_somewhat_alike_are_refused_rather_than_compared_for_hours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near_pairs, "MAX_COMPARISONS", 10_000)
    signatures = make_signatures(0, 1000, 1, 0.2)
    with pytest.raises(RequestError, match="too much alike") as caught:
        cluster_rows(Comparison(signatures, NOTHING, 0.8), np.arange(1000))
    assert "data.near_duplicate_threshold" in str(caught.value)
