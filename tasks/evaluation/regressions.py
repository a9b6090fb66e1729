"""What a guard would notice, and how often it would hold back an equally good model."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.evaluation.power import (
    MAX_BOOTSTRAP_GROUPS,
    NUM_SIMULATIONS,
    Array,
    Flags,
    add_errors,
    draw_outcomes,
    pass_bootstrap,
    pass_studentised,
)
from tasks.evaluation.shares import bound_loss
from tasks.evaluation.significance import find_least_informative

# Shape suffixes: S simulated test sets, G groups.

GUARD_DISCORDANCES = (0.05, 0.1, 0.2, 0.4)
LEAST_PASSING = 0.5  # an equally good model that passes less often is mostly held back
NUM_REGRESSIONS = 2**6  # the grid of the search
MARGIN_STEP = 0.01


@dataclass(frozen=True)
class GuardForecast:
    """What one guard of a share can tell, by the share of answers that change."""

    smallest_regression: dict[float, float | None]
    """Held back in 80 % of runs; None where no regression that these changes can give is."""
    equal_passes: dict[float, float]
    """How often a model passes that is exactly as good as its opponent."""

    @property
    def is_hopeless(self) -> bool:
        """Whether an equally good model is mostly held back, however few answers change."""
        return max(self.equal_passes.values()) < LEAST_PASSING


def bound_outcomes(outcomes_SG: Array, sizes_G: Array, alpha: float) -> Array:
    """Return the gate's score bound of each test set, shape (S,).

    The opponent is taken to have all rows right but those that the candidate won.
    """
    kept_SG = (outcomes_SG <= 0).astype(np.float32)
    rows_S, num_rows = kept_SG @ sizes_G, float(sizes_G.sum())
    at_risk_S = rows_S**2 / np.maximum(kept_SG @ sizes_G**2, 1)
    values_S = (outcomes_SG @ sizes_G) / num_rows
    bounds_S = bound_loss(
        values_S, rows_S / num_rows, at_risk_S, alpha=alpha, num_groups=len(sizes_G)
    )
    return bounds_S.astype(np.float32)


def pass_cheaply(outcomes_SG: Array, sizes_G: Array, alpha: float, margin: float) -> Flags:
    """Say for each test set whether all of the guard's rule but the percentile holds, shape (S,).

    Args:
        outcomes_SG: +1 won, -1 lost, 0 unchanged.
        sizes_G: Rows of each group.
        alpha: One-sided error rate.
        margin: What the lower bound must be above: minus the largest regression.
    """
    if len(sizes_G) < find_least_informative(alpha):
        return np.zeros(len(outcomes_SG), dtype=bool)
    passed_S = pass_studentised(outcomes_SG, sizes_G, alpha, margin)
    return np.asarray(passed_S & (bound_outcomes(outcomes_SG, sizes_G, alpha) > margin))


def pass_guard(
    outcomes_SG: Array, sizes_G: Array, *, alpha: float, margin: float, seed: int
) -> Flags:
    """Say for each simulated test set whether the guard would pass, shape (S,)."""
    passed_S = pass_cheaply(outcomes_SG, sizes_G, alpha, margin)
    if len(sizes_G) <= MAX_BOOTSTRAP_GROUPS and passed_S.any():
        passed_S[passed_S] = pass_bootstrap(outcomes_SG[passed_S], sizes_G, alpha, margin, seed)
    return passed_S


def find_regression(
    uniform_SG: Array,
    sizes_G: Array,
    discordance: float,
    *,
    alpha: float,
    margin: float,
    power: float,
    seed: int,
) -> float | None:
    """Search for the smallest regression that is held back with probability `power`."""
    asked = 1 - add_errors(power, len(uniform_SG))
    regressions = np.linspace(0, discordance, NUM_REGRESSIONS + 1)

    def draw(number: int) -> Array:
        return draw_outcomes(uniform_SG, -float(regressions[number]), discordance)

    def is_held_cheaply(number: int) -> bool:
        return float(pass_cheaply(draw(number), sizes_G, alpha, margin).mean()) <= asked

    def is_held(number: int) -> bool:
        flags = pass_guard(draw(number), sizes_G, alpha=alpha, margin=margin, seed=seed)
        return float(flags.mean()) <= asked

    # Without the percentile the rule lets more pass, so that this is found at the latest.
    last = bisect_left(range(len(regressions)), True, key=is_held_cheaply)
    least, step = last, 1
    while least > 0 and is_held(least - 1):
        least, last, step = max(0, least - step), least - 1, 2 * step
    found = least + bisect_left(range(least, last), True, key=is_held)
    return float(regressions[found]) if found < len(regressions) else None


def forecast_guard(
    group_sizes: Sequence[int],
    *,
    alpha: float,
    max_regression: float,
    discordances: Sequence[float] = GUARD_DISCORDANCES,
    power: float = 0.8,
    num_simulations: int = NUM_SIMULATIONS,
    seed: int = 0,
) -> GuardForecast:
    """Simulate a guard of a share (exact match), with the gate's own rule.

    Args:
        group_sizes: Rows of each group that is guarded; the rows of a group change together.
        alpha: One-sided error rate of the next look.
        max_regression: What the guard allows.
        discordances: Shares of rows that change, won or lost.
        power: Probability with which a regression is to be held back.
        num_simulations: Simulated test sets.
        seed: Seed of the simulation and the resampling.
    """
    return simulate_guard(
        tuple(group_sizes), alpha, max_regression, tuple(discordances), power, num_simulations, seed
    )


@functools.lru_cache(maxsize=64)
def simulate_guard(
    group_sizes: tuple[int, ...],
    alpha: float,
    max_regression: float,
    discordances: tuple[float, ...],
    power: float,
    num_simulations: int,
    seed: int,
) -> GuardForecast:
    """Return what `forecast_guard` describes; kept, since the run asks what the plan asked."""
    if len(group_sizes) < 2:
        return GuardForecast(dict.fromkeys(discordances), dict.fromkeys(discordances, 0.0))
    sizes_G = np.asarray(group_sizes, dtype=np.float32)
    shape = (num_simulations, len(sizes_G))
    uniform_SG = np.random.default_rng(seed).random(shape, dtype=np.float32)
    rule = functools.partial(pass_guard, alpha=alpha, margin=-max_regression, seed=seed)
    search = functools.partial(
        find_regression, alpha=alpha, margin=-max_regression, power=power, seed=seed
    )
    return GuardForecast(
        {d: search(uniform_SG, sizes_G, d) for d in discordances},
        {d: float(rule(draw_outcomes(uniform_SG, 0.0, d), sizes_G).mean()) for d in discordances},
    )


def find_least_margin(
    group_sizes: Sequence[int],
    *,
    alpha: float,
    discordance: float = GUARD_DISCORDANCES[0],
    num_simulations: int = NUM_SIMULATIONS,
    seed: int = 0,
) -> float | None:
    """Find the smallest regression to allow, in steps of 0.01, that an equal model mostly passes.

    Returns:
        The margin, or None where none below 1 would do.
    """
    sizes_G = np.asarray(group_sizes, dtype=np.float32)
    if len(sizes_G) < 2:
        return None
    uniform_SG = np.random.default_rng(seed).random(
        (num_simulations, len(sizes_G)), dtype=np.float32
    )
    outcomes_SG = draw_outcomes(uniform_SG, 0.0, discordance)
    margins = [round(MARGIN_STEP * number, 2) for number in range(1, 100)]

    def passes(margin: float) -> bool:
        flags = pass_guard(outcomes_SG, sizes_G, alpha=alpha, margin=-margin, seed=seed)
        return float(flags.mean()) >= LEAST_PASSING

    found = bisect_left(margins, True, key=passes)
    return margins[found] if found < len(margins) else None
