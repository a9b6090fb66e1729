"""The smallest gain that the gate would notice, by simulating its rule before training.

What a guard would notice is in `regressions`, how many examples a gain needs in `sample_sizes`.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tasks.evaluation.significance import (
    count_tail,
    draw_weights,
    find_least_informative,
)
from tasks.evaluation.student import find_student_quantile

# Shape suffixes: S simulated test sets, G groups, B resamples.
Array = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

DISCORDANCES = (0.1, 0.2, 0.4)
NUM_SIMULATIONS = 800  # standard error of a power of 80 %: 1.4 points
NUM_RESAMPLES = 2_000  # the gate takes more; the bounds differ by less than the 1.4 points
MAX_BOOTSTRAP_GROUPS = 300  # above, the studentised bound is the bootstrap's limit, and cheaper
NUM_GAINS = 2**8  # the grid of the search


def add_errors(power: float, num_simulations: int) -> float:
    """Return a power with two standard errors of the simulation: what is announced is kept.

    >>> round(add_errors(0.8, 800), 3)
    0.828
    """
    return power + 2 * math.sqrt(power * (1 - power) / num_simulations)


def draw_outcomes(uniform_SG: Array, gain: float, discordance: float) -> Array:
    """Turn uniform numbers into +1 (won), -1 (lost) and 0 (unchanged), shape (S, G)."""
    won = uniform_SG < (discordance + gain) / 2
    lost = uniform_SG > 1 - (discordance - gain) / 2
    return won.astype(np.float32) - lost.astype(np.float32)


def pass_studentised(outcomes_SG: Array, sizes_G: Array, alpha: float, margin: float) -> Flags:
    """Say for each test set whether value - t · s is above the margin, shape (S,)."""
    num_groups, num_rows = len(sizes_G), float(sizes_G.sum())
    squares_G = sizes_G**2
    values_S = (outcomes_SG @ sizes_G) / num_rows
    # The sum over groups of (sum of the group - value · rows of the group)^2, multiplied out.
    residuals_S = outcomes_SG**2 @ squares_G - 2 * values_S * (outcomes_SG @ squares_G)
    residuals_S += values_S**2 * float(squares_G.sum())
    spread_S = np.sqrt(np.maximum(residuals_S, 0) * num_groups / (num_groups - 1)) / num_rows
    return np.asarray(
        values_S - find_student_quantile(1 - alpha, num_groups - 1) * spread_S > margin
    )


def pass_bootstrap(
    outcomes_SG: Array, sizes_G: Array, alpha: float, margin: float, seed: int
) -> Flags:
    """Say for each test set whether the bootstrap's lower bound is above the margin, shape (S,)."""
    sums_GS = (outcomes_SG * sizes_G).T
    below_S = np.zeros(len(outcomes_SG), dtype=np.int64)
    for weights in draw_weights(len(sizes_G), NUM_RESAMPLES, seed):
        weights_BG = weights.astype(np.float32)  # whole numbers below 2^24: exact
        # Rounding below the margin's own: a mean that equals the margin is not above it.
        limits_B = (weights_BG @ sizes_G) * np.float32(margin) + np.float32(1e-4)
        below_S += (weights_BG @ sums_GS <= limits_B[:, None]).sum(axis=0)
    return np.asarray(below_S <= count_tail(alpha, len(sizes_G), NUM_RESAMPLES))


def pass_rule(
    outcomes_SG: Array, sizes_G: Array, *, alpha: float, margin: float, seed: int
) -> Flags:
    """Say for each simulated test set whether the gate's primary check would pass, shape (S,)."""
    num_groups = len(sizes_G)
    enough_S: Flags = (outcomes_SG != 0).sum(axis=1) >= find_least_informative(alpha)
    passed_S: Flags = enough_S & pass_studentised(outcomes_SG, sizes_G, alpha, margin)
    if num_groups <= MAX_BOOTSTRAP_GROUPS and passed_S.any():
        passed_S = passed_S & pass_bootstrap(outcomes_SG, sizes_G, alpha, margin, seed)
    return passed_S


def find_gain(
    uniform_SG: Array,
    sizes_G: Array,
    discordance: float,
    *,
    alpha: float,
    margin: float,
    power: float,
    seed: int,
) -> float | None:
    """Search for the smallest gain that passes with probability `power` at one discordance."""
    asked = add_errors(power, len(uniform_SG))
    # The same uniform numbers at every gain, so that more gain never passes less often.
    gains = np.linspace(min(max(margin, 0.0), discordance), discordance, NUM_GAINS + 1)[1:]

    def passes_bound(number: int) -> bool:
        outcomes_SG = draw_outcomes(uniform_SG, gains[number], discordance)
        return float(pass_studentised(outcomes_SG, sizes_G, alpha, margin).mean()) >= asked

    def passes(number: int) -> bool:
        outcomes_SG = draw_outcomes(uniform_SG, gains[number], discordance)
        flags = pass_rule(outcomes_SG, sizes_G, alpha=alpha, margin=margin, seed=seed)
        return float(flags.mean()) >= asked

    # The studentised bound alone is cheap and part of the rule: the whole rule needs no less.
    least = bisect_left(range(NUM_GAINS), True, key=passes_bound)
    last, step = least, 1
    while last < NUM_GAINS and not passes(last):
        least, last, step = last + 1, last + step, 2 * step
    last = min(last, NUM_GAINS)
    found = least + bisect_left(range(least, last), True, key=passes)
    return float(gains[found]) if found < NUM_GAINS else None


def smallest_detectable(
    group_sizes: Sequence[int],
    *,
    alpha: float,
    min_improvement: float = 0.0,
    discordances: Sequence[float] = DISCORDANCES,
    power: float = 0.8,
    num_simulations: int = NUM_SIMULATIONS,
    seed: int = 0,
) -> dict[float, float | None]:
    """Simulate the gate's rule for the smallest gain in a share (exact match) that it notices.

    Each simulated test set wins a share (d + gain) / 2 of the groups and loses (d - gain) / 2;
    the rows of a group change together, the least favourable case. The rule is the gate's own
    (expanded percentile, value - t · s, least number of differing groups) with 2,000 resamples;
    above 300 groups, value - t · s alone, which the percentile tends to.

    Args:
        group_sizes: Rows of each group of the test split.
        alpha: One-sided error rate of the next look.
        min_improvement: What the lower bound must be above.
        discordances: Shares d of rows that change, won or lost.
        power: Probability with which the gain is to be noticed.
        num_simulations: Simulated test sets.
        seed: Seed of the simulation and the resampling.

    Returns:
        By discordance, the smallest gain as a share of the rows; None where no gain that this
        many changed rows can give would be noticed.
    """
    simulated = simulate_gains(
        tuple(group_sizes),
        tuple(discordances),
        alpha,
        min_improvement,
        power,
        num_simulations,
        seed,
    )
    return dict(simulated)


@functools.lru_cache(maxsize=64)
def simulate_gains(
    group_sizes: tuple[int, ...],
    discordances: tuple[float, ...],
    alpha: float,
    margin: float,
    power: float,
    num_simulations: int,
    seed: int,
) -> tuple[tuple[float, float | None], ...]:
    """Return discordances and gains; kept, since the plan and the decision ask the same."""
    sizes_G = np.asarray(group_sizes, dtype=np.float32)
    if len(sizes_G) < 2:
        return tuple((discordance, None) for discordance in discordances)
    rng = np.random.default_rng(seed)
    uniform_SG = rng.random((num_simulations, len(sizes_G)), dtype=np.float32)
    settings = {"alpha": alpha, "margin": margin, "power": power}
    return tuple(
        (discordance, find_gain(uniform_SG, sizes_G, discordance, seed=seed, **settings))
        for discordance in discordances
    )
