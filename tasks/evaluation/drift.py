"""Drift: whether a model's score on fresh rows has left the interval that it was published with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from tasks.evaluation.intervals import ALPHA, bound_rows
from tasks.evaluation.metrics import find_metric
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.shares import bound_share, count_independent
from tasks.evaluation.significance import Bounds
from tasks.records.handles import Record

NUM_RESAMPLES = 10_000
SEED = 0

DriftVerdict = Literal["steady", "drifted", "too_few_rows"]


class Interval(Record):
    """A score with its 95 % interval."""

    value: float
    lower: float | None
    upper: float | None
    """None where one group of rows bounds nothing."""
    rows: int
    groups: int

    def describe(self) -> str:
        """Return it in words."""
        if self.lower is None or self.upper is None:
            return f"{self.value:.4g} (unbounded)"
        return f"{self.value:.4g} ({self.lower:.4g} to {self.upper:.4g})"


class MetricDrift(Record):
    """One metric on the fresh rows beside what it was published with."""

    metric: str
    verdict: DriftVerdict
    published: Interval
    fresh: Interval
    floor: float
    """The score that the fresh rows' worse bound may not be beyond, to count as steady."""
    needed_groups: int | None = None
    """About how many groups would tell, if the score stayed as it is; None where it is told."""

    def describe(self) -> str:
        """Return the finding in a sentence."""
        fresh = f"{self.fresh.rows} rows in {self.fresh.groups} groups"
        found = f"{self.metric} {self.fresh.describe()} on {fresh}"
        found += f", published {self.published.describe()}"
        if self.verdict != "too_few_rows":
            return f"{found}: {self.verdict}."
        needed = f", about {self.needed_groups} groups would" if self.needed_groups else ""
        return f"{found}: too few rows to tell{needed}."


def measure(rows: Sequence[Prediction], metrics: Iterable[str]) -> dict[str, Interval]:
    """Return the 95 % interval of each metric that the rows carry, over their groups.

    It is the report's interval; of a share it is the farther of that and the score bound, since
    the bootstrap finds no spread where every answer is right.

    Args:
        rows: One model's predictions.
        metrics: Names of the metrics.
    """
    found = bound_rows(rows, metrics, num_resamples=NUM_RESAMPLES, seed=SEED)
    return {name: _describe_interval(rows, name, bounds) for name, bounds in found.items()}


def _describe_interval(rows: Sequence[Prediction], name: str, bounds: Bounds) -> Interval:
    sizes = Counter(row.group for row in rows)
    lower, upper = bounds.lower, bounds.upper
    if len(sizes) > 1 and is_share(rows, name):
        independent = count_independent(list(sizes.values()))
        share = bound_share(bounds.value, independent, alpha=ALPHA, num_groups=len(sizes))
        lower, upper = min(lower, share[0]), max(upper, share[1])
    is_bounded = len(sizes) > 1 and math.isfinite(lower) and math.isfinite(upper)
    return Interval(
        value=bounds.value,
        lower=lower if is_bounded else None,
        upper=upper if is_bounded else None,
        rows=len(rows),
        groups=len(sizes),
    )


def is_share(rows: Sequence[Prediction], name: str) -> bool:
    """Return whether a metric is a mean of scores in [0, 1] on these rows."""
    sums_NK = find_metric(name).collect_sums(rows)  # shape (N, K)
    if sums_NK.shape[1] != 2 or not (sums_NK[:, 1] == 1).all():
        return False
    return bool(((sums_NK[:, 0] >= 0) & (sums_NK[:, 0] <= 1)).all())


def judge_metric(name: str, published: Interval, fresh: Interval, *, margin: float) -> MetricDrift:
    """Say of one metric whether the model is as good on fresh rows as it was published.

    `drifted`: even the better end of the fresh interval is worse than the worse end of the
    published one. `steady`: the worse end of the fresh interval is not beyond the floor, which lies
    `margin` times as far from the published value as the published interval's worse end does.
    Otherwise there are too few rows to tell; the more there are, the closer the fresh interval gets
    to one of the two.

    Args:
        name: The metric.
        published: On the test set, when it was published.
        fresh: On the fresh rows.
        margin: At least 1.
    """
    metric = find_metric(name)
    sign = 1.0 if metric.higher_is_better else -1.0  # from here on, more is better
    value, low, _ = _orient(published, sign)
    worst = metric.lowest if metric.higher_is_better else -metric.highest
    floor = value - margin * (value - low)
    if floor <= worst:
        floor = low  # the margin would allow any score
    _, fresh_low, fresh_high = _orient(fresh, sign)
    verdict: DriftVerdict = "too_few_rows"
    if fresh_high < low:
        verdict = "drifted"
    elif fresh_low >= floor > worst:
        verdict = "steady"
    needed = _count_needed(fresh, sign, low, floor) if verdict == "too_few_rows" else None
    return MetricDrift(
        metric=name,
        verdict=verdict,
        published=published,
        fresh=fresh,
        floor=sign * floor,
        needed_groups=needed,
    )


def _orient(interval: Interval, sign: float) -> tuple[float, float, float]:
    """Return value, worse end and better end, so that more is better."""
    if interval.lower is None or interval.upper is None:
        return sign * interval.value, -math.inf, math.inf
    ends = sorted((sign * interval.lower, sign * interval.upper))
    return sign * interval.value, ends[0], ends[1]


def _count_needed(fresh: Interval, sign: float, low: float, floor: float) -> int | None:
    """Return about how many groups would tell: a bound's distance falls with their square root."""
    value, fresh_low, fresh_high = _orient(fresh, sign)
    distances = [(value - fresh_low, value - floor), (fresh_high - value, low - value)]
    ratios = [
        reach / distance
        for reach, distance in distances
        if distance > 0 and math.isfinite(reach) and math.isfinite(distance)
    ]
    return math.ceil(fresh.groups * min(ratios) ** 2) if ratios else None


def judge(findings: Sequence[MetricDrift]) -> DriftVerdict:
    """Return the verdict of all metrics: that of the worst, drift being worse than doubt."""
    verdicts = {finding.verdict for finding in findings}
    if "drifted" in verdicts:
        return "drifted"
    return "too_few_rows" if "too_few_rows" in verdicts else "steady"
