"""The gate: from the arms' predictions to checks, a verdict and its reasons; pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from configs.schema import GateConfig
from tasks.evaluation.metrics import MEAN_METRICS, Metric, find_metric, has_metric
from tasks.evaluation.pairing import ArmEvidence, Pairing, are_identical, list_pairings
from tasks.evaluation.power import smallest_detectable
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.reasons import explain_verdict
from tasks.evaluation.significance import Comparison, compare_sums, find_least_informative
from tasks.records.handles import Arm, Check, Verdict

__all__ = ["ArmEvidence", "GateResult", "decide"]

POWER = 0.8


@dataclass(frozen=True)
class GateResult:
    """The verdict with its checks; the task adds names and digests to make a Decision."""

    verdict: Verdict
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    smallest_detectable_gain: dict[str, float] = field(default_factory=dict)


def compare_rows(pairing: Pairing, metric: Metric, *, gate: GateConfig, alpha: float) -> Comparison:
    """Bound by how much the candidate is better in one metric on the paired rows."""
    return compare_sums(
        metric.collect_sums(pairing.candidate_rows),
        metric.collect_sums(pairing.opponent_rows),
        [row.group for row in pairing.candidate_rows],
        metric.combine,
        higher_is_better=metric.higher_is_better,
        alpha=alpha,
        num_resamples=gate.num_resamples,
        seed=gate.seed,
    )


def count_evidence(comparison: Comparison, *, is_guard: bool) -> int:
    """Return the groups that speak: differing ones for a gain, all for an absent regression."""
    return comparison.num_groups if is_guard else comparison.num_informative_groups


def note_comparison(
    pairing: Pairing, comparison: Comparison, metric: str, needed: int, *, is_guard: bool
) -> str:
    """Return what a reader of the check must know besides its figures."""
    notes = []
    if pairing.num_left_out:
        notes.append(f"{pairing.num_left_out} rows that the {pairing.opponent} trained on left out")
    if not pairing.same_tokenizer and metric in {"nll", "perplexity"}:
        notes.append("in bits per byte, since the tokenizers differ")
    if are_identical(pairing):
        notes.append(f"outputs are identical in all {comparison.num_rows} rows")
    elif count_evidence(comparison, is_guard=is_guard) < needed:
        found, what = count_evidence(comparison, is_guard=is_guard), "" if is_guard else " differ"
        notes.append(f"only {found} groups{what}; no result is significant below {needed}")
    return "; ".join(notes)


def check_pairing(
    pairing: Pairing, name: str, *, is_guard: bool, gate: GateConfig, alpha: float
) -> Check:
    """Check one metric on the paired rows of one split.

    A primary passes when its lower bound is above `min_improvement` and enough groups differ; a
    guard when its lower bound is above `-max_regression` and there are enough groups.
    """
    metric = find_metric(name, same_tokenizer=pairing.same_tokenizer)
    comparison = compare_rows(pairing, metric, gate=gate, alpha=alpha)
    bounds, needed = comparison.improvement, find_least_informative(alpha)
    threshold = -gate.max_regression if is_guard else gate.min_improvement
    is_enough = count_evidence(comparison, is_guard=is_guard) >= needed
    return Check(
        opponent=pairing.opponent,
        split=pairing.split,
        metric=name,
        role="guard" if is_guard else "primary",
        rows=comparison.num_rows,
        groups=comparison.num_groups,
        candidate=comparison.candidate,
        opponent_value=comparison.opponent,
        improvement=bounds.value,
        lower=bounds.lower if math.isfinite(bounds.lower) else None,
        upper=bounds.upper if math.isfinite(bounds.upper) else None,
        threshold=threshold,
        passed=bounds.lower > threshold and is_enough,
        note=note_comparison(pairing, comparison, name, needed, is_guard=is_guard),
    )


def find_smallest_gains(
    checks: Sequence[Check], rows: Sequence[Prediction], *, alpha: float, min_improvement: float
) -> dict[str, float]:
    """Find the smallest gain of each primary metric that this test set shows at 80 % power.

    `METRIC@D` is a gain of a share when a share D of the rows change, by simulation; left out
    where no gain would be noticed. `METRIC` alone, for ratios, comes from the bounds measured
    against the baseline: (z₁₋ₐ + z₀.₈) standard errors above `min_improvement`.
    """
    gains: dict[str, float] = {}
    sizes = sorted(Counter(row.group for row in rows).values())
    for check in (c for c in checks if c.role == "primary" and c.opponent == "baseline"):
        if check.metric in MEAN_METRICS:
            found = smallest_detectable(sizes, alpha=alpha, min_improvement=min_improvement)
            gains |= {f"{check.metric}@{d:g}": g for d, g in found.items() if g is not None}
        elif check.width is not None:
            quantile = NormalDist().inv_cdf(1 - alpha)
            error = check.width / 2 / quantile
            reach = (quantile + NormalDist().inv_cdf(POWER)) * error
            gains[check.metric] = min_improvement + reach
    return gains


def decide(
    arms: Mapping[Arm, ArmEvidence],
    *,
    primary_metrics: Sequence[str],
    guard_splits: Sequence[str] = ("adversarial",),
    gate: GateConfig,
    alpha: float,
    test_split: str = "test",
    champion_prompts: frozenset[str] = frozenset(),
    unavailable: Mapping[Arm, str] | None = None,
) -> GateResult:
    """Decide whether the candidate is proven better than each opponent.

    All checks must pass, so several of them need no correction of alpha: the chance that a
    candidate which fails one condition passes all is at most that of passing this one.

    Args:
        arms: Evidence of `finetuned`, `baseline` and, where there is one, `champion`.
        primary_metrics: The metrics that decide on the test split.
        guard_splits: Splits on which the primary metrics must not regress; those without rows in
            the candidate's evidence are passed over.
        gate: Margins, resamples, seed.
        alpha: One-sided error rate of this look.
        test_split: The split that gives the verdict.
        champion_prompts: Digests of the prompts that the champion was trained on; rows with them
            are left out of the comparison with it, and counted.
        unavailable: Opponents that ought to be here and could not be loaded, and why.

    Raises:
        ValueError: The arms do not hold the same examples, or carry no such metric.
    """
    guards = [s for s in guard_splits if arms["finetuned"].predictions.get(s)]
    missing: dict[Arm, str] = dict(unavailable or {})
    checks, identical = [], []
    for pairing in list_pairings(arms, [test_split, *guards], champion_prompts):
        is_test = pairing.split == test_split
        if not pairing.candidate_rows:
            missing[pairing.opponent] = f"it was trained on every row of {pairing.split}"
            continue
        if is_test and are_identical(pairing):
            identical.append(pairing.opponent)
        relaxed = pairing.opponent == "champion" and gate.champion == "not_worse"
        for name in primary_metrics:
            if not has_metric([*pairing.candidate_rows, *pairing.opponent_rows], name):
                raise ValueError(f"{pairing.split}: the predictions carry no {name}")
            is_guard = relaxed or not is_test
            check = check_pairing(pairing, name, is_guard=is_guard, gate=gate, alpha=alpha)
            checks.append(check)
    verdict = choose_verdict(checks, identical, missing)
    gains = find_smallest_gains(
        checks, arms["finetuned"].predictions[test_split],
        alpha=alpha, min_improvement=gate.min_improvement,
    )  # fmt: skip
    reasons = explain_verdict(verdict, checks, identical, missing, alpha=alpha)
    return GateResult(verdict, reasons, tuple(checks), gains)


def choose_verdict(
    checks: Sequence[Check], identical: Sequence[Arm], missing: Mapping[Arm, str]
) -> Verdict:
    """Return the verdict that the checks add up to."""
    primaries = [check for check in checks if check.role == "primary"]
    assert primaries, "there is no primary check"
    if identical or any(check.is_ruled_out for check in primaries):
        return "not_better"
    if missing or not all(check.passed for check in checks):
        return "inconclusive"
    return "better"
