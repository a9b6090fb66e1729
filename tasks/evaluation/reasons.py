"""Reasons for a verdict, in words, with how many more examples would settle an open one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from tasks.evaluation.significance import find_least_informative
from tasks.records.handles import Arm, Check, Verdict

NORMAL = NormalDist()
POWER = 0.8
MANY_EXAMPLES = 1_000_000
T_SLACK = 4  # groups by which Student's t needs more than the normal quantile


def describe_figures(check: Check) -> str:
    """Return a check's figures as one phrase."""
    return (
        f"{check.metric} on {check.place}: {check.candidate:.4g} against the {check.opponent}'s "
        f"{check.opponent_value:.4g}, improvement {check.improvement:+.4g} "
        f"(bounds {check.describe_bounds()}, {check.rows} rows in {check.groups} groups)"
    )


def count_more_examples(check: Check, alpha: float) -> int | None:
    """Estimate how many more rows would settle a check, were the difference to stay as measured.

    n · ((z₁₋ₐ + z₀.₈) · s / |improvement - threshold|)² - n, s the standard error: with that many
    the bound on the right side of the threshold is past it with 80 % probability. At least so
    many groups that a guard passes without any loss: z₁₋ₐ² · (1 - margin) / margin.

    Returns:
        Rows to add, or None where no feasible number would do (above a million).
    """
    distance = abs(check.improvement - check.threshold)
    if check.standard_error is None or distance == 0:
        return None
    reach = NORMAL.inv_cdf(1 - alpha) + NORMAL.inv_cdf(POWER)
    rows = check.rows * (reach * check.standard_error / distance) ** 2
    least = float(find_least_informative(alpha))
    if check.role == "guard" and -1 < check.threshold < 0 and check.won is not None:
        quantile = NORMAL.inv_cdf(1 - alpha)
        least = max(least, T_SLACK + quantile**2 * (1 + check.threshold) / -check.threshold)
    more = math.ceil(max(rows, check.rows * least / check.groups)) - check.rows
    return None if more > MANY_EXAMPLES else more


def explain_open(check: Check, alpha: float) -> str:
    """Say why a check is undecided and what would settle it."""
    head = f"{describe_figures(check)}; the lower bound must be above {check.threshold:+.4g}"
    if check.note:
        head = f"{head}; {check.note}"
    if check.role == "guard" and check.is_ruled_out:
        return f"{head}. The regression is proven; more examples will not help"
    more = count_more_examples(check, alpha)
    if more is None:
        return f"{head}. No feasible number of examples settles a difference this close to it"
    if more <= 0:
        return f"{head}. A few more examples, in other groups, would settle it"
    where = f" where {check.slice}" if check.slice else ""
    return (
        f"{head}. About {more} more {check.split} examples{where} would settle it (80 % chance, if "
        "the difference stays as measured)"
    )


def explain_identical(opponent: Arm, rows: int) -> str:
    """Say that the outputs are the opponent's own."""
    return (
        f"the outputs on test are identical to the {opponent}'s in all {rows} rows: training "
        "changed nothing (learning rate 0, or an adapter that was not applied?)"
    )


def explain_verdict(
    verdict: Verdict,
    checks: Sequence[Check],
    identical: Sequence[Arm],
    unmeasured: Sequence[str],
    *,
    alpha: float,
) -> tuple[str, ...]:
    """Return the reasons, those that decide first."""
    if verdict == "better":
        return tuple(f"{describe_figures(c)}, above {c.threshold:+.4g}" for c in checks)
    if verdict == "not_better":
        rows = {check.opponent: check.rows for check in reversed(checks)}
        same = [explain_identical(opponent, rows[opponent]) for opponent in identical]
        worse = [
            f"{describe_figures(c)}; the upper bound is not above {c.threshold:+.4g}"
            for c in checks
            if c.role == "primary" and c.is_ruled_out and c.opponent not in identical
        ]
        return (*same, *worse)
    return (*unmeasured, *(explain_open(check, alpha) for check in checks if not check.passed))
