"""How many examples a gain needs, and what an NLL can show, by simulating the gate's rule."""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.evaluation.power import (
    MAX_BOOTSTRAP_GROUPS,
    NUM_SIMULATIONS,
    Flags,
    add_errors,
    pass_rule,
)
from tasks.evaluation.significance import find_least_informative
from tasks.evaluation.student import find_student_quantile

# Shape suffixes: S simulated test sets, G groups, B resamples.

Counts = npt.NDArray[np.float64]

NUM_COUNTED = 2_000  # test sets of which only won and lost groups are drawn
MOST_GROUPS = 2**20
MOST_SPREADS = 64  # no gain of so many standard deviations is looked for
PRECISION = 2**-7


def pass_counts(
    won_S: Counts, lost_S: Counts, num_groups: int, *, alpha: float, margin: float, seed: int
) -> Flags:
    """Say whether the primary rule holds with equally large groups, from counts alone, shape (S,).

    The same rule as in `power.pass_rule`; counts are all that it depends on here.
    """
    if num_groups <= MAX_BOOTSTRAP_GROUPS:
        places_G = np.arange(num_groups)
        outcomes_SG = (places_G < won_S[:, None]).astype(np.float32)
        outcomes_SG -= places_G >= num_groups - lost_S[:, None]
        ones_G = np.ones(num_groups, dtype=np.float32)
        return pass_rule(outcomes_SG, ones_G, alpha=alpha, margin=margin, seed=seed)
    changed_S, values_S = won_S + lost_S, (won_S - lost_S) / num_groups
    spread_S = np.sqrt((changed_S / num_groups - values_S**2) / (num_groups - 1))
    reach = find_student_quantile(1 - alpha, num_groups - 1)
    passed_S = changed_S >= find_least_informative(alpha)
    return np.asarray(passed_S & (values_S - reach * spread_S > margin))


def measure_power(
    num_groups: int, gain: float, discordance: float, *, alpha: float, margin: float, seed: int
) -> float:
    """Return how often a gain is noticed on so many equally large groups."""
    rng = np.random.default_rng([seed, num_groups])
    chances = [(discordance + gain) / 2, (discordance - gain) / 2, 1 - discordance]
    counts = rng.multinomial(num_groups, chances, size=NUM_COUNTED).astype(np.float64)
    flags = pass_counts(
        counts[:, 0], counts[:, 1], num_groups, alpha=alpha, margin=margin, seed=seed
    )
    return float(flags.mean())


def round_up(number: float) -> int:
    """Return a number rounded up to two digits.

    >>> round_up(1234.5), round_up(96.2), round_up(7)
    (1300, 97, 7)
    """
    step: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / step) * step


@functools.lru_cache(maxsize=256)
def find_examples(
    gain: float,
    discordance: float,
    *,
    alpha: float,
    margin: float = 0.0,
    rows_per_group: float = 1.0,
    power: float = 0.8,
    seed: int = 0,
) -> int | None:
    """Find how many test examples notice a gain in a share with probability `power`.

    Args:
        gain: The true gain.
        discordance: The share of rows that change, won or lost.
        alpha: One-sided error rate of the look.
        margin: What the lower bound must be above.
        rows_per_group: Rows that count for one independent one; see `count_rows_per_group`.
        power: Probability with which the gain is to be noticed.
        seed: Seed of the simulation.

    Returns:
        The number, rounded up to two digits; None above a million groups, or where so many
        changes cannot give the gain.
    """
    if not margin < gain <= discordance:
        return None
    asked = add_errors(power, NUM_COUNTED)

    def notices(num_groups: int) -> bool:
        found = measure_power(num_groups, gain, discordance, alpha=alpha, margin=margin, seed=seed)
        return found >= asked

    most = find_least_informative(alpha)
    while not notices(most):
        most *= 2
        if most > MOST_GROUPS:
            return None
    least = most // 2
    step = max(1, int(least * PRECISION))
    grid = range(least, most + step, step)
    return round_up(grid[bisect_left(grid, True, key=notices)] * rows_per_group)


def count_rows_per_group(group_sizes: Sequence[int]) -> float:
    """Return how many rows count for one independent one: Σ size² / Σ size.

    >>> count_rows_per_group([1, 1, 1]), count_rows_per_group([4, 4])
    (1.0, 4.0)

    Source: Kish 1965, Survey Sampling, on clusters whose members all agree.
    """
    return sum(size * size for size in group_sizes) / sum(group_sizes)


@functools.lru_cache(maxsize=64)
def find_smallest_shift(
    weights: tuple[float, ...], *, alpha: float, power: float = 0.8, seed: int = 0
) -> float | None:
    """Find the smallest gain in a ratio such as NLL per token, in standard deviations of a group.

    Each group's change per token is normal, with the same standard deviation; the gain is what is
    noticed with probability `power`, above the margin.

    Args:
        weights: What each group weighs in the ratio, such as its tokens or characters.
        alpha: One-sided error rate of the look.
        power: Probability with which the gain is to be noticed.
        seed: Seed of the simulation and the resampling.

    Returns:
        Standard deviations; None where no gain would be noticed.
    """
    if len(weights) < find_least_informative(alpha):
        return None
    weights_G = np.asarray(weights, dtype=np.float32) / np.float32(np.mean(weights))
    noise_SG = (
        np.random.default_rng(seed)
        .standard_normal((NUM_SIMULATIONS, len(weights_G)))
        .astype(np.float32)
    )
    asked = add_errors(power, NUM_SIMULATIONS)

    def notices(gain: float) -> bool:
        flags = pass_rule(
            noise_SG + np.float32(gain), weights_G, alpha=alpha, margin=0.0, seed=seed
        )
        return float(flags.mean()) >= asked

    low, high = 0.0, 4 / math.sqrt(len(weights_G))
    while not notices(high):
        low, high = high, 2 * high
        if high > MOST_SPREADS:
            return None
    while high - low > high * PRECISION:
        middle = (low + high) / 2
        low, high = (low, middle) if notices(middle) else (middle, high)
    return high
