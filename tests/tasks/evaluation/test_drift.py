"""Drift is claimed where it is, hardly ever where it is not, and not from a handful of rows."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from scipy import stats

from tasks.evaluation.drift import (
    DriftVerdict,
    Interval,
    MetricDrift,
    judge,
    judge_metric,
    measure,
)
from tests.tasks.evaluation.rows import make_row, make_rows

PUBLISHED = Interval(value=0.9, lower=0.85, upper=0.94, rows=240, groups=240)


def measure_share(right: int, num_rows: int) -> Interval:
    rows = make_rows([1.0] * right + [0.0] * (num_rows - right))
    return measure(rows, ["exact_match"])["exact_match"]


def judge_share(right: int, num_rows: int, margin: float = 2.0) -> MetricDrift:
    return judge_metric("exact_match", PUBLISHED, measure_share(right, num_rows), margin=margin)


@pytest.mark.parametrize(
    ("right", "num_rows", "verdict"),
    [
        (216, 240, "steady"),
        (240, 240, "steady"),
        (120, 240, "drifted"),
        (4, 20, "drifted"),
        (18, 20, "too_few_rows"),
        (14, 20, "too_few_rows"),
        (800, 1000, "drifted"),
    ],
)
def test_the_rule(right: int, num_rows: int, verdict: DriftVerdict) -> None:
    found = judge_share(right, num_rows)
    assert found.verdict == verdict
    assert found.floor == pytest.approx(0.8)
    assert (found.needed_groups is not None) == (verdict == "too_few_rows")


def find_least(num_rows: int, *verdicts: DriftVerdict) -> int:
    """Return the least number of right rows that has one of the verdicts; more have it too."""
    numbers = range(num_rows + 1)
    return bisect_left(numbers, True, key=lambda n: judge_share(n, num_rows).verdict in verdicts)


@pytest.mark.parametrize("num_rows", [10, 20, 60, 240])
def test_noise_is_no_drift(num_rows: int) -> None:
    least = find_least(num_rows, "steady", "too_few_rows")
    alarms = stats.binom.cdf(least - 1, num_rows, PUBLISHED.value)
    assert 0 < alarms <= 0.005


@pytest.mark.parametrize("num_rows", [20, 60, 240])
def test_a_score_at_the_floor_is_hardly_ever_called_steady(num_rows: int) -> None:
    steady = stats.binom.sf(find_least(num_rows, "steady") - 1, num_rows, 0.8)
    assert steady <= 0.026


def test_as_many_rows_as_were_tested_tell_when_nothing_has_changed() -> None:
    steady = stats.binom.sf(find_least(240, "steady") - 1, 240, PUBLISHED.value)
    assert steady >= 0.95


def test_so_many_groups_as_it_says_would_tell() -> None:
    few = judge_share(18, 20)
    assert few.needed_groups is not None
    assert 20 < few.needed_groups < 240
    enough = 10 * round(few.needed_groups * 1.1 / 10)
    assert judge_share(enough * 9 // 10, enough).verdict == "steady"
    assert judge_share(few.needed_groups * 9 // 20, few.needed_groups // 2).verdict != "steady"


def test_a_perfect_score_on_few_rows_has_an_interval_of_its_own() -> None:
    perfect = measure_share(40, 40)
    assert (perfect.value, perfect.upper) == (1.0, 1.0)
    assert perfect.lower == pytest.approx(0.907, abs=0.001)
    # The bootstrap alone would find no spread there, and drift in two wrong answers of a thousand.
    found = judge_metric("exact_match", perfect, measure_share(998, 1000), margin=2.0)
    assert found.verdict == "steady"


def test_rows_of_one_group_count_as_what_they_say_together() -> None:
    def measure_groups(size: int) -> Interval:
        rows = [make_row(n, exact=1.0, group=f"g{n // size}") for n in range(60)]
        return measure(rows, ["exact_match"])["exact_match"]

    alone, grouped = measure_groups(1), measure_groups(10)
    assert (alone.groups, grouped.groups) == (60, 6)
    assert alone.lower is not None
    assert grouped.lower is not None
    assert grouped.lower < alone.lower
    one = measure_groups(60)
    assert (one.lower, one.upper) == (None, None)
    assert judge_metric("exact_match", PUBLISHED, one, margin=2.0).verdict == "too_few_rows"


@pytest.mark.parametrize(
    ("nats", "verdict"),
    [(1.0, "steady"), (0.5, "steady"), (1.15, "too_few_rows"), (2.0, "drifted")],
)
def test_of_nll_less_is_better(nats: float, verdict: DriftVerdict) -> None:
    published = Interval(value=1.0, lower=0.9, upper=1.1, rows=100, groups=100)
    fresh = Interval(value=nats, lower=nats - 0.1, upper=nats + 0.1, rows=100, groups=100)
    found = judge_metric("nll", published, fresh, margin=2.0)
    assert found.verdict == verdict
    assert found.floor == pytest.approx(1.2)


def test_a_margin_that_would_allow_any_score_is_not_used() -> None:
    low = Interval(value=0.1, lower=0.04, upper=0.2, rows=60, groups=60)
    found = judge_metric("exact_match", low, measure_share(3, 60), margin=2.0)
    assert (found.floor, found.verdict) == (0.04, "too_few_rows")
    assert judge_metric("exact_match", low, measure_share(30, 60), margin=2.0).verdict == "steady"


def test_the_worst_metric_decides() -> None:
    steady, few, drifted = judge_share(216, 240), judge_share(18, 20), judge_share(4, 20)
    assert judge([steady]) == "steady"
    assert judge([steady, few]) == "too_few_rows"
    assert judge([steady, few, drifted]) == "drifted"
    assert "about" in few.describe()
    assert drifted.describe().endswith("published 0.9 (0.85 to 0.94): drifted.")
