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
MAX_DRAWN_GROUPS = 2_000  # above, weights are Poisson numbers: 3 times as fast
POISSON_STEPS = 2**16
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
    spread: float
    """Standard error of the improvement."""


def sum_groups(rows_NK: Array, groups: Sequence[str]) -> Array:
    """Return the sums of each group's rows, groups in sorted order, shape (G, K)."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums_GK = np.zeros((len(names), rows_NK.shape[1]))
    np.add.at(sums_GK, index, rows_NK)
    return sums_GK


def draw_weights(num_groups: int, num_resamples: int, seed: int) -> Iterator[Array]:
    """Draw how often each group stands in each resample, in chunks of shape (b, G).

    Up to 2,000 groups these are G draws with replacement. Above, each group stands in a resample
    as often as a Poisson number with mean 1 says: the sizes of the resamples then vary by 1/√G,
    which ratios of sums do not notice (all our metrics are such).

    Source: Chamandy et al. 2012, "Estimating uncertainty for massive data streams", section 3.
    """
    chunk = max(1, CHUNK_ENTRIES // num_groups)
    sizes = [min(chunk, num_resamples - start) for start in range(0, num_resamples, chunk)]
    draw = draw_poisson if num_groups > MAX_DRAWN_GROUPS else draw_counts
    return draw(num_groups, sizes, seed)


def draw_counts(num_groups: int, sizes: Sequence[int], seed: int) -> Iterator[Array]:
    """Draw G groups with replacement for each resample, in chunks of `sizes` resamples.

    A 32-bit random number times G, shifted, picks a group with a bias below G / 2^32, at a third
    of the cost of `Generator.integers(G)`.
    """
    rng = np.random.default_rng(seed)
    for size in sizes:
        index = rng.integers(0, 2**32, size=(size, num_groups), dtype=np.uint32).astype(np.uint64)
        index *= np.uint64(num_groups)
        index >>= np.uint64(32)
        index += (np.arange(size, dtype=np.uint64) * np.uint64(num_groups))[:, None]
        counts = np.bincount(index.view(np.int64).ravel(), minlength=size * num_groups)
        yield counts.reshape(size, num_groups).astype(np.float64)


def draw_poisson(num_groups: int, sizes: Sequence[int], seed: int) -> Iterator[Array]:
    """Draw a Poisson number with mean 1 for each group, in chunks of `sizes` resamples."""
    rng = np.random.Generator(np.random.SFC64(seed))
    table = tabulate_poisson()
    for size in sizes:
        words = rng.integers(0, 2**64, size=-(-size * num_groups // 4), dtype=np.uint64)
        drawn = table.take(words.view(np.uint16)[: size * num_groups])
        yield drawn.reshape(size, num_groups).astype(np.float64)


def tabulate_poisson() -> npt.NDArray[np.int8]:
    """Return 65,536 equally likely numbers whose distribution is Poisson's with mean 1.

    Each probability is right to 2^-17; numbers above 8 (one in a million) do not come up.

    >>> [round(float((tabulate_poisson() == k).mean()), 5) for k in (0, 1, 2, 8)]
    [0.36787, 0.36789, 0.18394, 2e-05]
    """
    chances = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(12)])
    middles = (np.arange(POISSON_STEPS) + 0.5) / POISSON_STEPS
    return np.searchsorted(chances, middles).astype(np.int8)


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


def find_spread(resampled_B: Array, num_groups: int) -> float:
    """Return the standard error of a statistic; infinite where the resamples do not tell."""
    if num_groups < 2 or not np.isfinite(resampled_B).all():
        return math.inf
    return float(np.std(resampled_B)) * math.sqrt(num_groups / (num_groups - 1))


def find_bounds(value: float, resampled_B: Array, *, alpha: float, num_groups: int) -> Bounds:
    """Find the one-sided bounds at `alpha` each: the expanded percentile or value ± t · s.

    The farther one of the two: the percentile knows the shape of the distribution, but with
    long tails and few groups it stops too early, and with a small alpha it cannot be located at
    all. Infinite where one group says nothing, and where a resample is not finite (a perplexity
    that overflows).

    Args:
        value: The statistic of the data themselves.
        resampled_B: The statistic of each resample.
        alpha: Error rate of each bound.
        num_groups: Groups that were resampled.
    """
    spread = find_spread(resampled_B, num_groups)
    if math.isinf(spread):
        return Bounds(value, -math.inf, math.inf)
    tail = count_tail(alpha, num_groups, len(resampled_B))
    ordered = np.sort(resampled_B)
    lower, upper = float(ordered[tail]), float(ordered[-1 - tail])
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
    with np.errstate(over="ignore", invalid="ignore"):  # inf - inf: the bounds say so
        differences_B = combine(resampled_BK[:, :width]) - combine(resampled_BK[:, width:])
    improvement = sign * (values[0] - values[1])
    num_groups = len(sums_GK)
    return Comparison(
        *values,
        find_bounds(improvement, sign * differences_B, alpha=alpha, num_groups=num_groups),
        num_rows=len(candidate_NK),
        num_groups=num_groups,
        num_informative_groups=int((sums_GK[:, :width] != sums_GK[:, width:]).any(axis=1).sum()),
        spread=find_spread(differences_B, num_groups),
    )


def find_least_informative(alpha: float) -> int:
    """Return how many groups must differ before any result can be significant at `alpha`.

    If the two models were exchangeable, all of D differing groups would favour the candidate with
    probability 2^-D; below this D even that is more likely than alpha.

    >>> find_least_informative(0.025)
    6
    """
    return math.ceil(-math.log2(alpha))
