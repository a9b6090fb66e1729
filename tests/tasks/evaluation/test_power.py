import time

import numpy as np
import pytest

from tasks.evaluation.metrics import combine_ratio
from tasks.evaluation.power import (
    draw_outcomes,
    pass_bootstrap,
    pass_rule,
    pass_studentised,
    smallest_detectable,
)
from tasks.evaluation.significance import compare_sums, find_least_informative

ALPHA = 0.0152


def test_simulated_rule_agrees_with_the_gates() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 4, 60).astype(np.float32)
    outcomes = draw_outcomes(rng.random((80, 60), dtype=np.float32), 0.15, 0.3)
    found = pass_rule(outcomes, sizes, alpha=ALPHA, margin=0.0, seed=0)
    groups = np.repeat(np.arange(60), sizes.astype(int)).astype(str).tolist()
    expected = []
    for outcome in outcomes:
        rows = np.repeat(outcome, sizes.astype(int)).astype(float)
        comparison = compare_sums(
            np.column_stack([rows, np.ones(len(rows))]),
            np.column_stack([np.zeros(len(rows)), np.ones(len(rows))]),
            groups, combine_ratio,
            higher_is_better=True, alpha=ALPHA, num_resamples=10_000, seed=0,
        )  # fmt: skip
        enough = comparison.num_informative_groups >= find_least_informative(ALPHA)
        expected.append(enough and comparison.improvement.lower > 0)
    assert 15 < sum(expected) < 65
    # 2,000 resamples instead of 10,000 move a verdict only where it is on the edge.
    assert (found == np.array(expected)).mean() >= 0.95


@pytest.mark.parametrize(("num_groups", "agreement"), [(200, 0.93), (500, 0.95)])
def test_studentised_bound_is_the_bootstraps_limit(num_groups: int, agreement: float) -> None:
    rng = np.random.default_rng(1)
    sizes = np.ones(num_groups, dtype=np.float32)
    gain = 0.2 * np.sqrt(100 / num_groups) * 0.8
    outcomes = draw_outcomes(rng.random((300, num_groups), dtype=np.float32), gain, 0.3)
    bootstrap = pass_bootstrap(outcomes, sizes, ALPHA, 0.0, seed=0)
    studentised = pass_studentised(outcomes, sizes, ALPHA, 0.0)
    assert 30 < bootstrap.sum() < 290
    assert (bootstrap == studentised).mean() >= agreement


def test_about_eighteen_points_are_detectable_on_fifty_rows() -> None:
    gain = smallest_detectable([1] * 50, alpha=0.025, discordances=[0.2])[0.2]
    assert gain == pytest.approx(0.18, abs=0.02)


def test_more_rows_and_less_discordance_detect_smaller_gains() -> None:
    few = smallest_detectable([1] * 200, alpha=ALPHA)
    many = smallest_detectable([1] * 2_000, alpha=ALPHA)
    assert [many[d] < few[d] for d in few] == [True] * 3
    assert sorted(few.values()) == list(few.values())


def test_what_no_gain_can_show_is_none() -> None:
    found = smallest_detectable([1] * 50, alpha=ALPHA, discordances=[0.02, 0.4])
    assert found[0.02] is None
    assert found[0.4] is not None
    assert smallest_detectable([10] * 5, alpha=0.025) == dict.fromkeys((0.1, 0.2, 0.4))
    assert smallest_detectable([50], alpha=0.025, discordances=[0.2]) == {0.2: None}


def test_grouped_rows_detect_less() -> None:
    rows = smallest_detectable([1] * 200, alpha=ALPHA, discordances=[0.4])[0.4]
    groups = smallest_detectable([4] * 50, alpha=ALPHA, discordances=[0.4])[0.4]
    assert groups is not None
    assert rows is not None
    assert groups == pytest.approx(2 * rows, rel=0.2)


def test_margin_is_on_top() -> None:
    plain = smallest_detectable([1] * 200, alpha=ALPHA, discordances=[0.2])[0.2]
    asked = smallest_detectable([1] * 200, alpha=ALPHA, discordances=[0.2], min_improvement=0.05)
    assert plain is not None
    assert asked[0.2] == pytest.approx(plain + 0.05, abs=0.02)


def test_simulation_is_fast_and_repeatable() -> None:
    start = time.process_time()
    first = smallest_detectable([1] * 200, alpha=ALPHA)
    assert time.process_time() - start < 4  # 1 s on an idle core
    assert smallest_detectable([1] * 200, alpha=ALPHA) == first
