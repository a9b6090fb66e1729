"""The gate: from the arms' predictions to checks, a verdict and its reasons; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

from configs.schema import GateConfig
from tasks.evaluation.checks import (
    check_metric,
    collect_sums,
    describe_unmeasured,
    find_infinities,
)
from tasks.evaluation.guards import GUARD_SPLITS, Guard, list_guards, select_slice
from tasks.evaluation.metrics import MEAN_METRICS, has_metric
from tasks.evaluation.pairing import ArmEvidence, Pairing, are_identical, list_pairings
from tasks.evaluation.power import smallest_detectable
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.reasons import explain_verdict
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


def list_questions(
    pairing: Pairing, primary_metrics: Sequence[str], guards: Sequence[Guard], gate: GateConfig,
    test_split: str,
) -> Iterator[tuple[str, Guard | None]]:  # fmt: skip
    """Yield what is asked of the paired rows of one split: metrics, with the guard they are for.

    `gate.champion: not_worse` asks a primary metric only for the guard's condition.
    """
    if pairing.split == test_split:
        is_relaxed = pairing.opponent == "champion" and gate.champion == "not_worse"
        for name in primary_metrics:
            yield name, Guard(name, test_split, gate.max_regression) if is_relaxed else None
    for guard in guards:
        if guard.split == pairing.split:
            yield guard.metric, guard


def answer_question(
    pairing: Pairing, name: str, guard: Guard | None, *, gate: GateConfig, alpha: float
) -> Check | str:
    """Return the check of one metric on paired rows, or why it cannot be made.

    Raises:
        ValueError: The rows carry no such metric.
    """
    pairing = select_slice(pairing, guard) if guard else pairing
    if not pairing.candidate_rows:
        return describe_unmeasured(pairing, guard, name, "there are no such rows")
    if not has_metric([*pairing.candidate_rows, *pairing.opponent_rows], name):
        raise ValueError(f"{pairing.split}: the predictions carry no {name}")
    sums = collect_sums(pairing, name)
    if why := find_infinities(sums, pairing):
        return describe_unmeasured(pairing, guard, name, why)
    return check_metric(pairing, sums, name, guard=guard, gate=gate, alpha=alpha)


def decide(
    arms: Mapping[Arm, ArmEvidence],
    *,
    primary_metrics: Sequence[str],
    guard_splits: Sequence[str] = GUARD_SPLITS,
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
        gate: Margins, guards, resamples, seed.
        alpha: One-sided error rate of this look.
        test_split: The split that gives the verdict.
        champion_prompts: Digests of the prompts that the champion was trained on; rows with them
            are left out of the comparison with it, and counted.
        unavailable: Opponents that ought to be here and could not be loaded, and why.

    Raises:
        ValueError: The arms do not hold the same examples, or carry no such metric.
    """
    predictions = arms["finetuned"].predictions
    fields = {split: [row.fields for row in rows] for split, rows in predictions.items()}
    guards = list_guards(gate, primary_metrics, fields, guard_splits)
    missing: dict[Arm, str] = dict(unavailable or {})
    checks: list[Check] = []
    identical: list[Arm] = []
    unmeasured: list[str] = []
    splits = list(dict.fromkeys([test_split, *(guard.split for guard in guards)]))
    for pairing in list_pairings(arms, [s for s in splits if predictions.get(s)], champion_prompts):
        if not pairing.candidate_rows:
            missing[pairing.opponent] = f"it was trained on every row of {pairing.split}"
            continue
        if pairing.split == test_split and are_identical(pairing):
            identical.append(pairing.opponent)
        for name, guard in list_questions(pairing, primary_metrics, guards, gate, test_split):
            answer = answer_question(pairing, name, guard, gate=gate, alpha=alpha)
            if isinstance(answer, Check):
                checks.append(answer)
            else:
                unmeasured.append(answer)
    unmeasured += [
        f"no comparison of {guard.metric} on {guard.split}: it has no rows"
        for guard in guards
        if not predictions.get(guard.split)
    ]
    away = [f"no comparison with the {arm}: {why}" for arm, why in sorted(missing.items())]
    unmeasured = [*away, *unmeasured]
    verdict = choose_verdict(checks, identical, unmeasured)
    gains = find_smallest_gains(
        checks, predictions[test_split], alpha=alpha, min_improvement=gate.min_improvement
    )
    reasons = explain_verdict(verdict, checks, identical, unmeasured, alpha=alpha)
    return GateResult(verdict, reasons, tuple(checks), gains)


def choose_verdict(
    checks: Sequence[Check], identical: Sequence[Arm], unmeasured: Sequence[str]
) -> Verdict:
    """Return the verdict that the checks add up to.

    Args:
        checks: All checks that could be made.
        identical: Opponents whose outputs on the test split are the candidate's.
        unmeasured: What ought to be compared and could not be.
    """
    primaries = [check for check in checks if check.role == "primary"]
    assert primaries or unmeasured, "there is no primary check"
    if identical or any(check.is_ruled_out for check in primaries):
        return "not_better"
    if unmeasured or not all(check.passed for check in checks):
        return "inconclusive"
    return "better"
