import time

import numpy as np
import pytest
from scipy import stats

from tasks.evaluation.metrics import combine_ratio
from tasks.evaluation.significance import (
    Comparison,
    compare_sums,
    correct_alpha,
    draw_weights,
    find_least_informative,
    resample_sums,
    sum_groups,
)


def with_counts(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values, np.ones(len(values))])


def compare(
    candidate: np.ndarray, opponent: np.ndarray, groups: list[str], **settings: object
) -> Comparison:
    defaults = {"higher_is_better": True, "alpha": 0.025, "num_resamples": 10_000, "seed": 0}
    pair = with_counts(candidate), with_counts(opponent)
    return compare_sums(*pair, groups, combine_ratio, **(defaults | settings))


def name_groups(num_rows: int, size: int = 1) -> list[str]:
    return [f"g{row // size}" for row in range(num_rows)]


def test_each_resample_draws_as_many_groups_as_there_are() -> None:
    weights = np.concatenate(list(draw_weights(37, 5_000, seed=1)))
    assert weights.shape == (5_000, 37)
    assert (weights.sum(axis=1) == 37).all()
    # Multinomial: mean 1, variance 1 - 1/G; five standard errors.
    assert weights.mean(axis=0) == pytest.approx(np.ones(37), abs=5 / np.sqrt(5_000))
    assert weights.var() == pytest.approx(1 - 1 / 37, abs=0.03)


def test_weights_follow_from_the_seed() -> None:
    first, again, other = (next(draw_weights(50, 10, seed)) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_group_sums_do_not_depend_on_the_order_of_rows() -> None:
    rows = np.arange(12.0).reshape(6, 2)
    groups = ["b", "a", "b", "c", "a", "b"]
    shuffled = [5, 3, 0, 4, 1, 2]
    expected = sum_groups(rows, groups)
    assert expected[0].tolist() == [2 + 8, 3 + 9]
    assert (sum_groups(rows[shuffled], [groups[i] for i in shuffled]) == expected).all()


def test_bootstrap_bounds_agree_with_the_t_interval_on_normal_data() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.3, 1.0, 40)
    found = compare(differences, np.zeros(40), name_groups(40)).improvement
    error = differences.std(ddof=1) / np.sqrt(40)
    reach = stats.t.ppf(0.975, 39) * error
    assert found.value == pytest.approx(differences.mean())
    assert found.lower == pytest.approx(differences.mean() - reach, abs=0.1 * error)
    assert found.upper == pytest.approx(differences.mean() + reach, abs=0.1 * error)


def test_rows_of_one_group_are_not_independent_evidence() -> None:
    rng = np.random.default_rng(1)
    by_group = rng.normal(0.2, 1.0, 20)
    repeated = np.repeat(by_group, 10)
    grouped = compare(repeated, np.zeros(200), name_groups(200, 10)).improvement
    alone = compare(by_group, np.zeros(20), name_groups(20)).improvement
    as_rows = compare(repeated, np.zeros(200), name_groups(200)).improvement
    assert grouped.upper - grouped.lower == pytest.approx(alone.upper - alone.lower, rel=0.05)
    assert grouped.upper - grouped.lower > 2.5 * (as_rows.upper - as_rows.lower)


def test_ratio_is_recomputed_from_resampled_sums() -> None:
    rng = np.random.default_rng(2)
    tokens = rng.integers(1, 500, 30).astype(float)
    sums = np.column_stack([tokens * rng.normal(2.0, 0.1, 30), tokens])
    resampled = resample_sums(sum_groups(sums, name_groups(30)), 2_000, seed=5)
    weights = np.concatenate(list(draw_weights(30, 2_000, seed=5)))
    order = np.unique(name_groups(30), return_index=True)[1]
    expected = (weights @ sums[order, 0]) / (weights @ sums[order, 1])
    assert combine_ratio(resampled) == pytest.approx(expected)
    # The mean of row ratios is another number: long rows count more here.
    total = compare_sums(
        sums, sums, name_groups(30), combine_ratio,
        higher_is_better=False, alpha=0.025, num_resamples=1000, seed=0,
    ).candidate  # fmt: skip
    assert total == pytest.approx(sums[:, 0].sum() / sums[:, 1].sum())
    assert total != pytest.approx((sums[:, 0] / sums[:, 1]).mean(), abs=1e-4)


def test_direction_turns_the_sign() -> None:
    rng = np.random.default_rng(3)
    low, high = rng.random(60), rng.random(60) + 0.5
    better = compare(low, high, name_groups(60), higher_is_better=False).improvement
    worse = compare(low, high, name_groups(60), higher_is_better=True).improvement
    assert better.lower > 0
    assert worse.upper < 0
    assert better.value == pytest.approx(-worse.value)


def test_few_groups_widen_the_bounds() -> None:
    assert correct_alpha(0.025, 5) < 0.001 < correct_alpha(0.025, 20) < 0.025
    assert correct_alpha(0.025, 100_000) == pytest.approx(0.025, rel=1e-3)
    assert compare(np.ones(10), np.zeros(10), ["one"] * 10).improvement.lower == -np.inf


def test_a_bound_is_never_nearer_than_t() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(1.0, 1.0, 15)
    found = compare(values, np.zeros(15), name_groups(15), alpha=1e-4).improvement
    reach = stats.t.ppf(1 - 1e-4, 14) * values.std(ddof=1) / np.sqrt(15)
    assert found.lower <= values.mean() - 0.97 * reach
    assert found.upper >= values.mean() + 0.97 * reach


def test_only_differing_groups_are_informative() -> None:
    candidate = np.array([1.0, 0, 1, 1, 0, 0])
    opponent = np.array([0.0, 1, 1, 1, 0, 1])
    # Group g0 wins one and loses one: its sums are equal.
    assert compare(candidate, opponent, name_groups(6, 2)).num_informative_groups == 1
    assert compare(candidate, opponent, name_groups(6)).num_informative_groups == 3


def test_unpaired_arms_are_refused() -> None:
    with pytest.raises(AssertionError, match="paired"):
        compare(np.ones(4), np.ones(5), name_groups(4))


@pytest.mark.parametrize(("alpha", "least"), [(0.025, 6), (0.0152, 7), (0.0038, 9)])
def test_least_informative_groups_make_alpha_reachable(alpha: float, least: int) -> None:
    assert find_least_informative(alpha) == least
    assert 2.0**-least <= alpha < 2.0 ** -(least - 1)


def test_ten_thousand_resamples_of_ten_thousand_rows_are_fast() -> None:
    rng = np.random.default_rng(5)
    candidate, opponent = rng.random(10_000), rng.random(10_000)
    start = time.process_time()  # of this process alone: other work on the machine does not count
    compare(candidate, opponent, name_groups(10_000))
    # 0.7 s on an idle core; the factor is for slow and shared ones.
    assert time.process_time() - start < 2.5
