"""Paired bootstrap over groups: bounds on how much better one model is than another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tasks.evaluation.student import find_student_quantile

# Shape suffixes: N rows, G groups, B resamples, K sums that a metric is made of.
Array = npt.NDArray[np.float64]

CHUNK_ENTRIES = 160_000  # resamples x groups drawn at a time: fits the L2 cache
NORMAL = NormalDist()


@dataclass(frozen=True)
class Bounds:
    """A value with one-sided bounds from the resampled distribution."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Comparison:
    """Candidate against opponent on the same rows."""

    candidate: float
    opponent: float
    improvement: Bounds
    """By how much the candidate is better, in the metric's unit."""
    num_rows: int
    num_groups: int
    num_informative_groups: int
    """Groups in which the two differ; only these say anything about which is better."""


def sum_groups(rows_NK: Array, groups: Sequence[str]) -> Array:
    """Return the sums of each group's rows, groups in sorted order, shape (G, K)."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums_GK = np.zeros((len(names), rows_NK.shape[1]))
    np.add.at(sums_GK, index, rows_NK)
    return sums_GK


def draw_weights(num_groups: int, num_resamples: int, seed: int) -> Iterator[Array]:
    """Draw how often each group stands in each resample, in chunks of shape (b, G).

    G draws with replacement for each resample: a 32-bit random number times G, shifted, picks a
    group with a bias below G / 2^32, at a third of the cost of `Generator.integers(G)`.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK_ENTRIES // num_groups)
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        index = rng.integers(0, 2**32, size=(size, num_groups), dtype=np.uint32).astype(np.uint64)
        index *= np.uint64(num_groups)
        index >>= np.uint64(32)
        index += (np.arange(size, dtype=np.uint64) * np.uint64(num_groups))[:, None]
        counts = np.bincount(index.view(np.int64).ravel(), minlength=size * num_groups)
        yield counts.reshape(size, num_groups).astype(np.float64)


def resample_sums(sums_GK: Array, num_resamples: int, seed: int) -> Array:
    """Return the sums of each resample of the groups, shape (B, K)."""
    chunks = [weights @ sums_GK for weights in draw_weights(len(sums_GK), num_resamples, seed)]
    return np.concatenate(chunks)


def correct_alpha(alpha: float, num_groups: int) -> float:
    """Return the percentile that gives a bound its nominal error with few groups.

    Φ(-√(G / (G - 1)) · t), t the 1 - alpha quantile of Student's t with G - 1 degrees of freedom:
    the bootstrap's spread is too small by √((G - 1) / G), and its tails are normal ones.

    >>> round(correct_alpha(0.025, 10), 4), round(correct_alpha(0.025, 1000), 4)
    (0.0086, 0.0248)

    Source: Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3.2.
    """
    if num_groups < 2:
        return 0.0
    quantile = find_student_quantile(1 - alpha, num_groups - 1)
    return NORMAL.cdf(-math.sqrt(num_groups / (num_groups - 1)) * quantile)


def count_tail(alpha: float, num_groups: int, num_resamples: int) -> int:
    """Return how many resamples lie beyond a bound."""
    return math.floor(correct_alpha(alpha, num_groups) * num_resamples)


def find_bounds(value: float, resampled_B: Array, *, alpha: float, num_groups: int) -> Bounds:
    """Find the one-sided bounds at `alpha` each: the expanded percentile or value ± t · s.

    The farther one of the two: the percentile knows the shape of the distribution, but with
    long tails and few groups it stops too early, and with a small alpha it cannot be located at
    all. One group says nothing: its bounds are infinite.

    Args:
        value: The statistic of the data themselves.
        resampled_B: The statistic of each resample.
        alpha: Error rate of each bound.
        num_groups: Groups that were resampled.
    """
    assert np.isfinite(resampled_B).all(), "a resampled metric is not finite"
    if num_groups < 2:
        return Bounds(value, -math.inf, math.inf)
    tail = count_tail(alpha, num_groups, len(resampled_B))
    ordered = np.sort(resampled_B)
    lower, upper = float(ordered[tail]), float(ordered[-1 - tail])
    spread = float(np.std(resampled_B)) * math.sqrt(num_groups / (num_groups - 1))
    reach = find_student_quantile(1 - alpha, num_groups - 1) * spread
    return Bounds(value, min(lower, value - reach), max(upper, value + reach))


def compare_sums(
    candidate_NK: Array,
    opponent_NK: Array,
    groups: Sequence[str],
    combine: Callable[[Array], Array],
    *,
    higher_is_better: bool,
    alpha: float,
    num_resamples: int,
    seed: int,
) -> Comparison:
    """Bound how much better the candidate is, resampling groups of paired rows.

    Args:
        candidate_NK: What the metric is made of, by row.
        opponent_NK: The same of the opponent, row by row on the same examples.
        groups: The rows' groups.
        combine: The metric of sums, (..., K) → (...); recomputed for every resample, so that
            ratios are ratios of resampled sums.
        higher_is_better: The metric's direction.
        alpha: Error rate of each bound.
        num_resamples: Bootstrap resamples of the groups.
        seed: Seed of the resampling.
    """
    assert candidate_NK.shape == opponent_NK.shape, "arms must be paired row by row"
    width = candidate_NK.shape[1]
    sums_GK = sum_groups(np.hstack([candidate_NK, opponent_NK]), groups)
    resampled_BK = resample_sums(sums_GK, num_resamples, seed)
    sign = 1.0 if higher_is_better else -1.0
    values = float(combine(candidate_NK.sum(axis=0))), float(combine(opponent_NK.sum(axis=0)))
    differences_B = combine(resampled_BK[:, :width]) - combine(resampled_BK[:, width:])
    improvement = sign * (values[0] - values[1])
    return Comparison(
        *values,
        find_bounds(improvement, sign * differences_B, alpha=alpha, num_groups=len(sums_GK)),
        num_rows=len(candidate_NK),
        num_groups=len(sums_GK),
        num_informative_groups=int((sums_GK[:, :width] != sums_GK[:, width:]).any(axis=1).sum()),
    )


def find_least_informative(alpha: float) -> int:
    """Return how many groups must differ before any result can be significant at `alpha`.

    If the two models were exchangeable, all of D differing groups would favour the candidate with
    probability 2^-D; below this D even that is more likely than alpha.

    >>> find_least_informative(0.025)
    6
    """
    return math.ceil(-math.log2(alpha))
