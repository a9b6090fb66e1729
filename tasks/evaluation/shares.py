"""Shares of right answers: bounds that hold where little varies, and McNemar's exact test."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tasks.evaluation.student import find_student_quantile

Array = npt.NDArray[np.float64]


def bound_loss(
    improvement: npt.ArrayLike,
    share: npt.ArrayLike,
    at_risk: npt.ArrayLike,
    *,
    alpha: float,
    num_groups: int,
) -> Array:
    """Return the score bound below an improvement in a share, for where little is lost.

    Minus the largest loss m that is not ruled out: -improvement ≥ m - t · √((m - m²) / G). A model
    that is worse by m changes at least a share m of the answers, and the spread that goes with it
    counts, not that of the sample, which is 0 where nothing was lost, however few groups there are.
    Where more is won than such a spread explains, this bounds nothing, and the bootstrap does.

    Args:
        improvement: Share of right answers less the opponent's.
        share: The opponent's share: what can be lost.
        at_risk: G, the independent groups in which the opponent has something to lose.
        alpha: One-sided error rate.
        num_groups: All groups, for t.

    Returns:
        The bound; infinite where it bounds nothing.

    >>> round(float(bound_loss(0.0, 1.0, 40, alpha=0.025, num_groups=40)), 4)
    -0.0928

    Source: Wilson 1927, for one share; Tango 1998 uses the null's spread for paired ones, too.
    """
    improvement, share, at_risk = (np.asarray(v, np.float64) for v in (improvement, share, at_risk))
    can_lose = (share > 0) & (at_risk > 0)
    safe_share, safe_risk = np.where(can_lose, share, 1.0), np.where(can_lose, at_risk, 1.0)
    # (v + m)² = c · (m - m²), the larger root.
    v, c = (
        improvement / safe_share,
        find_student_quantile(1 - alpha, num_groups - 1) ** 2 / safe_risk,
    )
    root = (c - 2 * v) ** 2 - 4 * (1 + c) * v**2
    loss = (c - 2 * v + np.sqrt(np.maximum(root, 0.0))) / (2 * (1 + c))
    bound: Array = np.where(can_lose & (root >= 0) & (loss >= 0), -safe_share * loss, np.inf)
    return bound


def bound_share(
    share: float, num_independent: float, *, alpha: float, num_groups: int
) -> tuple[float, float]:
    """Return the score bounds of a share: those that it would be surprising for on either side.

    |share - p| = t · √((p - p²) / n), solved for p. Unlike the bootstrap's they do not close up
    where every answer is right, however few there are.

    Args:
        share: Share of right answers.
        num_independent: n, the independent groups that it is over.
        alpha: Error rate of each bound.
        num_groups: All groups, for t; at least 2.

    >>> [round(bound, 4) for bound in bound_share(1.0, 40, alpha=0.025, num_groups=40)]
    [0.9072, 1.0]

    Source: Wilson 1927.
    """
    t = find_student_quantile(1 - alpha, num_groups - 1)
    c = t * t / num_independent
    middle = (share + c / 2) / (1 + c)
    reach = math.sqrt(c * (share - share**2) + c * c / 4) / (1 + c)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def count_independent(sizes: npt.ArrayLike) -> float:
    """Return how many equally large groups say as much as these: (Σ size)² / Σ size².

    >>> count_independent([2, 2, 2]), count_independent([4, 1, 1])
    (3.0, 2.0)

    Source: Kish 1965, Survey Sampling.
    """
    sizes = np.asarray(sizes, np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if len(sizes) else 0.0


def compute_mcnemar(won: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    min(1, 2 · P(X ≤ min(won, lost))) for X of Binomial(won + lost, ½): how often as lopsided a
    result comes about where winning and losing are equally likely. The rows are taken to be
    independent; where they come in groups it is too small.

    Args:
        won: Rows that the candidate alone has right.
        lost: Rows that the opponent alone has right.

    >>> compute_mcnemar(8, 1), compute_mcnemar(0, 0)
    (0.0390625, 1.0)

    Source: McNemar 1947; the exact form in Agresti 2002, Categorical Data Analysis, 10.1.4.
    """
    changed = won + lost
    term, total = 1, 0
    for k in range(min(won, lost) + 1):
        total += term
        term = term * (changed - k) // (k + 1)
    p_value: float = 2 * total / 2**changed
    return min(1.0, p_value)
