"""Student's t quantile for whole degrees of freedom, without scipy (whose import is slow)."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist

import numpy as np

MAX_EXACT_FREEDOM = 2000  # beyond, the expansion is exact to 1e-9


def compute_student_cdf(t: float, freedom: int) -> float:
    """Return P(T ≤ t) for T with `freedom` degrees of freedom, by the finite series.

    Source: Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    cosine_squared = freedom / (freedom + t * t)
    if freedom % 2:
        orders = np.arange(2, freedom - 1, 2)
        series = np.concatenate([[1.0], np.cumprod(orders / (orders + 1) * cosine_squared)]).sum()
        tail = math.sin(angle) * math.cos(angle) * series if freedom > 1 else 0.0
        return float(0.5 + (angle + tail) / math.pi)
    orders = np.arange(1, freedom - 2, 2)
    series = np.concatenate([[1.0], np.cumprod(orders / (orders + 1) * cosine_squared)]).sum()
    return float(0.5 + 0.5 * math.sin(angle) * series)


def expand_student_quantile(probability: float, freedom: int) -> float:
    """Return the quantile by its expansion around the normal one.

    Source: Abramowitz and Stegun, 26.7.5.
    """
    x = NormalDist().inv_cdf(probability)
    first = (x**3 + x) / 4
    second = (5 * x**5 + 16 * x**3 + 3 * x) / 96
    third = (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384
    return x + first / freedom + second / freedom**2 + third / freedom**3


@functools.cache
def find_student_quantile(probability: float, freedom: int) -> float:
    """Return t with P(T ≤ t) = `probability`, for a probability above a half.

    >>> round(find_student_quantile(0.975, 4), 4)
    2.7764
    """
    assert 0.5 < probability < 1, probability
    if freedom > MAX_EXACT_FREEDOM:
        return expand_student_quantile(probability, freedom)
    low, high = 0.0, 1.0
    while compute_student_cdf(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        if compute_student_cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return high
