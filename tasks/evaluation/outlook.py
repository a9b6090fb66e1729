"""What the gate will be able to tell on a test set, before anything is trained; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.schema import GateConfig
from tasks.evaluation.guards import Guard, belongs, describe_guard, list_guards
from tasks.evaluation.metrics import NLL_METRICS, find_metric
from tasks.evaluation.power import DISCORDANCES, smallest_detectable
from tasks.evaluation.regressions import (
    GuardForecast,
    find_least_margin,
    forecast_guard,
)
from tasks.evaluation.sample_sizes import count_rows_per_group, find_examples, find_smallest_shift
from tasks.evaluation.significance import find_least_informative

GAINS = (0.02, 0.05, 0.1)  # above the least improvement, of which it is said what they need
SPREADS = (0.05, 0.1, 0.2)  # standard deviation of a group's change in NLL, in nats a token
NOT_SHARES = (*NLL_METRICS, "bleu", "chrf")
"""Metrics that are no mean of scores in [0, 1]: what they can show depends on their noise."""


@dataclass(frozen=True)
class PlannedRow:
    """What is known of a row of an evaluation set before a model has answered it."""

    group: str
    fields: Mapping[str, Any]
    size: int
    """Characters of the text that is scored, which its tokens are about proportional to."""


@dataclass(frozen=True)
class Outlook:
    """What a look can show; shares are keyed by the share of answers that change."""

    smallest_gain: dict[str, float | None] = field(default_factory=dict)
    """Of a share such as exact match."""
    smallest_nll_gain: dict[str, float | None] = field(default_factory=dict)
    """Of NLL, in nats a token, by the standard deviation of a group's change."""
    smallest_regression: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """By guard: the smallest that it holds back in 80 % of runs."""
    equal_passes: dict[str, dict[str, float]] = field(default_factory=dict)
    """By guard: how often a model passes that is exactly as good."""
    refusals: tuple[tuple[Guard, str], ...] = ()
    """Guards that an equally good model would mostly fail even at the first look, and what to do
    about each."""
    worn: tuple[tuple[Guard, str], ...] = ()
    """Guards that it would mostly fail at this look, since so much of alpha is spent."""


def count_groups(rows: Sequence[PlannedRow]) -> list[int]:
    """Return the number of rows of each group, sorted."""
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row.group] += 1
    return sorted(counts.values())


def weigh_groups(rows: Sequence[PlannedRow]) -> tuple[float, ...]:
    """Return the characters of each group, sorted."""
    sizes: dict[str, float] = defaultdict(float)
    for row in rows:
        sizes[row.group] += max(1, row.size)
    return tuple(sorted(sizes.values()))


def key_shares(values: Mapping[float, Any]) -> dict[str, Any]:
    """Return values by their share as text, for JSON."""
    return {f"{share:g}": value for share, value in values.items()}


def foresee_gate(
    splits: Mapping[str, Sequence[PlannedRow]],
    *,
    primary_metrics: Sequence[str],
    gate: GateConfig,
    alpha: float,
    first_alpha: float,
    test_split: str = "test",
) -> Outlook:
    """Simulate the gate's rule on the groups of the evaluation sets.

    Args:
        splits: The rows of each evaluation set.
        primary_metrics: The metrics that decide.
        gate: The rule's settings.
        alpha: One-sided error rate of the next look.
        first_alpha: That of the first look at a test set.
        test_split: The split that gives the verdict.
    """
    test = splits[test_split]
    sizes, margin = count_groups(test), gate.min_improvement
    gains = smallest_detectable(sizes, alpha=alpha, min_improvement=margin)
    guards = list_planned_guards(splits, primary_metrics, gate, test_split)
    forecasts = foresee_guards(guards, splits, alpha)
    refusals = find_hopeless(guards, splits, first_alpha)
    return Outlook(
        smallest_gain=key_shares(gains),
        smallest_nll_gain=foresee_nll(test, alpha, margin) if "nll" in primary_metrics else {},
        smallest_regression={n: key_shares(f.smallest_regression) for n, f in forecasts.items()},
        equal_passes={n: key_shares(f.equal_passes) for n, f in forecasts.items()},
        refusals=refusals,
        worn=() if refusals else find_hopeless(guards, splits, alpha),
    )


def list_planned_guards(
    splits: Mapping[str, Sequence[PlannedRow]],
    primary_metrics: Sequence[str],
    gate: GateConfig,
    test_split: str,
) -> list[Guard]:
    """Return the guards, those of `gate.champion: not_worse` included."""
    fields = {split: [row.fields for row in rows] for split, rows in splits.items()}
    guards = list_guards(gate, primary_metrics, fields)
    if gate.champion == "not_worse":
        guards += [Guard(name, test_split, gate.max_regression) for name in primary_metrics]
    return list({guard.key: guard for guard in guards}.values())


def is_share(metric: str) -> bool:
    """Say whether a metric is a mean of scores in [0, 1], more being better."""
    return metric not in NOT_SHARES and find_metric(metric).higher_is_better


def size_guard(guard: Guard, splits: Mapping[str, Sequence[PlannedRow]]) -> list[int]:
    """Return the number of rows of each group that a guard is about."""
    return count_groups(
        [row for row in splits.get(guard.split, ()) if belongs(row.fields, guard.slice)]
    )


def foresee_guards(
    guards: Sequence[Guard], splits: Mapping[str, Sequence[PlannedRow]], alpha: float
) -> dict[str, GuardForecast]:
    """Return the forecast of each guard of a share, by what it is about."""
    return {
        describe_guard(guard): forecast_guard(
            size_guard(guard, splits), alpha=alpha, max_regression=guard.max_regression
        )
        for guard in guards
        if is_share(guard.metric)
    }


def find_hopeless(
    guards: Sequence[Guard], splits: Mapping[str, Sequence[PlannedRow]], alpha: float
) -> tuple[tuple[Guard, str], ...]:
    """Return the guards that an equally good model would mostly fail, with what is wrong."""
    found: list[tuple[Guard, str]] = []
    for guard in guards:
        sizes = size_guard(guard, splits)
        if is_share(guard.metric):
            forecast = forecast_guard(sizes, alpha=alpha, max_regression=guard.max_regression)
            why = explain_hopeless(guard, sizes, forecast, alpha) if forecast.is_hopeless else ""
        else:
            why = refuse_ratio(guard, sizes, alpha)
        if why:
            found.append((guard, why))
    return tuple(found)


def refuse_ratio(guard: Guard, sizes: Sequence[int], alpha: float) -> str:
    """Return why every equally good model fails a guard of a ratio such as NLL, or nothing.

    How noisy a ratio is is not known before models have answered, so that only what holds for any
    noise is refused.
    """
    needed = find_least_informative(alpha)
    if len(sizes) < needed:
        return f"it has {len(sizes)} groups of rows, and below {needed} no guard ever passes"
    if guard.max_regression == 0:
        return "no model that is as good as its opponent is proven not to be the least bit worse"
    return ""


def explain_hopeless(
    guard: Guard, sizes: Sequence[int], forecast: GuardForecast, alpha: float
) -> str:
    """Say how an equally good model fares under a guard, and what margin would do."""
    least = find_least_margin(sizes, alpha=alpha)
    shares = ", ".join(
        f"{1 - passing:.0%} of runs when {share:.0%} of the answers change"
        for share, passing in forecast.equal_passes.items()
    )
    remedy = "more rows are needed" if least is None else f"allow at least {least:g}, or add rows"
    return (
        f"{guard.max_regression:g} on {sum(sizes)} rows in {len(sizes)} groups would hold back a "
        f"model that is exactly as good in {shares}; {remedy}"
    )


def foresee_nll(rows: Sequence[PlannedRow], alpha: float, margin: float) -> dict[str, float | None]:
    """Return the smallest gain in NLL that is noticed, by the spread of a group's change."""
    shift = find_smallest_shift(weigh_groups(rows), alpha=alpha)
    return {f"{spread:g}": None if shift is None else margin + shift * spread for spread in SPREADS}


def foresee_examples(
    sizes: Sequence[int], alpha: float, margin: float
) -> dict[str, dict[str, int | None]]:
    """Return how many test rows some gains in a share need, where so many changes can give them."""
    rows_per_group = count_rows_per_group(sizes)
    return {
        f"{margin + gain:g}": {
            f"{share:g}": find_examples(
                margin + gain, share, alpha=alpha, margin=margin, rows_per_group=rows_per_group
            )
            for share in DISCORDANCES
            if margin + gain <= share
        }
        for gain in GAINS
    }
