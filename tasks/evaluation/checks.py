"""Checks: one metric of the candidate against an opponent's, on a split or a slice of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from configs.schema import GateConfig
from tasks.evaluation.guards import Guard, describe_place
from tasks.evaluation.metrics import NLL_METRICS, Metric, find_metric
from tasks.evaluation.pairing import Pairing, are_identical
from tasks.evaluation.shares import bound_loss, compute_mcnemar, count_independent
from tasks.evaluation.significance import (
    Array,
    Comparison,
    compare_sums,
    find_least_informative,
    sum_groups,
)
from tasks.records.handles import Check


@dataclass(frozen=True)
class Sums:
    """What a metric is made of, row by row, of both arms."""

    metric: Metric
    candidate: Array
    """Shape (N, K)."""
    opponent: Array
    """Shape (N, K)."""

    @property
    def are_shares(self) -> bool:
        """Whether the metric is a mean of scores in [0, 1], more being better."""
        return self.metric.higher_is_better and all(
            sums_NK.shape[1] == 2
            and bool((sums_NK[:, 1] == 1).all())
            and bool(((sums_NK[:, 0] >= 0) & (sums_NK[:, 0] <= 1)).all())
            for sums_NK in (self.candidate, self.opponent)
        )

    @property
    def are_binary(self) -> bool:
        """Whether each row is either right or wrong."""
        scores = np.concatenate([self.candidate[:, 0], self.opponent[:, 0]])
        return self.are_shares and bool(np.isin(scores, (0.0, 1.0)).all())


def collect_sums(pairing: Pairing, name: str) -> Sums:
    """Collect what a metric is made of on the paired rows."""
    metric = find_metric(name, same_tokenizer=pairing.same_tokenizer)
    candidate_NK = metric.collect_sums(pairing.candidate_rows)
    return Sums(metric, candidate_NK, metric.collect_sums(pairing.opponent_rows))


def find_infinities(sums: Sums, pairing: Pairing) -> str:
    """Return why a metric cannot be compared: it is not a finite number; or nothing."""
    for arm, sums_NK in (("candidate", sums.candidate), (pairing.opponent, sums.opponent)):
        broken = int((~np.isfinite(sums_NK)).any(axis=1).sum())
        if broken:
            return f"the {arm}'s is not a finite number in {broken} of {len(sums_NK)} rows"
        with np.errstate(over="ignore"):
            value = float(sums.metric.combine(sums_NK.sum(axis=0)))
        if not math.isfinite(value):
            return f"the {arm}'s is {value}"
    return ""


def bound_regression(sums: Sums, groups: list[str], comparison: Comparison, alpha: float) -> float:
    """Return the score bound below the improvement of a share; see `bound_loss`."""
    sums_GK = sum_groups(np.hstack([sums.candidate, sums.opponent]), groups)
    sizes_G = sums_GK[:, 1]
    return float(
        bound_loss(
            comparison.improvement.value,
            comparison.opponent,
            count_independent(sizes_G[sums_GK[:, 2] > 0]),
            alpha=alpha,
            num_groups=comparison.num_groups,
        )
    )


def compare_rows(pairing: Pairing, sums: Sums, *, gate: GateConfig, alpha: float) -> Comparison:
    """Bound by how much the candidate is better in one metric on the paired rows."""
    return compare_sums(
        sums.candidate,
        sums.opponent,
        [row.group for row in pairing.candidate_rows],
        sums.metric.combine,
        higher_is_better=sums.metric.higher_is_better,
        alpha=alpha,
        num_resamples=gate.num_resamples,
        seed=gate.seed,
    )


def note_comparison(
    pairing: Pairing, comparison: Comparison, metric: str, needed: int, *, is_guard: bool
) -> str:
    """Return what a reader of the check must know besides its figures."""
    notes = []
    if pairing.num_left_out:
        notes.append(f"{pairing.num_left_out} rows that the {pairing.opponent} trained on left out")
    if not pairing.same_tokenizer and metric in NLL_METRICS:
        notes.append("in bits per byte, since the tokenizers differ")
    differ = comparison.num_informative_groups
    found, what = (comparison.num_groups, "") if is_guard else (differ, " differ")
    if are_identical(pairing):
        notes.append(f"outputs are identical in all {comparison.num_rows} rows")
    if found < needed and not (are_identical(pairing) and not is_guard):
        notes.append(f"only {found} groups{what}; no result is significant below {needed}")
    return "; ".join(notes)


def count_changes(sums: Sums) -> dict[str, int | float]:
    """Return won and lost rows with McNemar's exact test, where rows are right or wrong."""
    if not sums.are_binary:
        return {}
    difference_N = sums.candidate[:, 0] - sums.opponent[:, 0]
    won, lost = int((difference_N > 0).sum()), int((difference_N < 0).sum())
    return {"won": won, "lost": lost, "mcnemar_p": compute_mcnemar(won, lost)}


def check_metric(
    pairing: Pairing, sums: Sums, name: str, *, guard: Guard | None, gate: GateConfig, alpha: float
) -> Check:
    """Check one metric on the paired rows.

    A primary passes when its lower bound is above `min_improvement` and enough groups differ; a
    guard when its lower bound is above minus its largest regression and there are enough groups.
    A guard of a share has the farther one of the bootstrap's bound and the score bound, since the
    bootstrap finds no spread where nothing is lost.
    """
    comparison = compare_rows(pairing, sums, gate=gate, alpha=alpha)
    bounds, needed = comparison.improvement, find_least_informative(alpha)
    if guard and sums.are_shares and comparison.num_groups > 1:
        groups = [row.group for row in pairing.candidate_rows]
        score = bound_regression(sums, groups, comparison, alpha)
        bounds = replace(bounds, lower=min(bounds.lower, score))
    found = comparison.num_groups if guard else comparison.num_informative_groups
    threshold = -guard.max_regression if guard else gate.min_improvement
    return Check(
        opponent=pairing.opponent,
        split=pairing.split,
        slice=guard.slice_name if guard else "",
        metric=name,
        role="guard" if guard else "primary",
        rows=comparison.num_rows,
        groups=comparison.num_groups,
        candidate=comparison.candidate,
        opponent_value=comparison.opponent,
        improvement=bounds.value,
        lower=bounds.lower if math.isfinite(bounds.lower) else None,
        upper=bounds.upper if math.isfinite(bounds.upper) else None,
        standard_error=comparison.spread if math.isfinite(comparison.spread) else None,
        threshold=threshold,
        passed=bounds.lower > threshold and found >= needed,
        note=note_comparison(pairing, comparison, name, needed, is_guard=guard is not None),
        **count_changes(sums),
    )


def describe_unmeasured(pairing: Pairing, guard: Guard | None, name: str, why: str) -> str:
    """Return the sentence about a comparison that could not be made."""
    place = describe_place(pairing.split, guard.slice_name if guard else "")
    return f"no comparison of {name} on {place} with the {pairing.opponent}: {why}"
