import numpy as np
import pytest

from tasks.evaluation.power import draw_outcomes, pass_rule
from tasks.evaluation.sample_sizes import (
    count_rows_per_group,
    find_examples,
    find_smallest_shift,
    pass_counts,
)

ALPHA = 0.0152


@pytest.mark.parametrize("groups", [80, 500])
def test_counts_decide_as_the_rows_do(groups: int) -> None:
    uniform = np.random.default_rng(0).random((300, groups), dtype=np.float32)
    outcomes = draw_outcomes(uniform, 0.8 / np.sqrt(groups), 0.2)
    won, lost = (outcomes > 0).sum(axis=1) * 1.0, (outcomes < 0).sum(axis=1) * 1.0
    found = pass_counts(won, lost, groups, alpha=ALPHA, margin=0.0, seed=0)
    ones = np.ones(groups, dtype=np.float32)
    expected = pass_rule(outcomes, ones, alpha=ALPHA, margin=0.0, seed=0)
    assert 30 < expected.sum() < 290
    assert (found == expected).mean() >= 0.95


@pytest.mark.parametrize(("gain", "discordance"), [(0.1, 0.2), (0.05, 0.1)])
def test_so_many_examples_notice_it(gain: float, discordance: float) -> None:
    rows = find_examples(gain, discordance, alpha=ALPHA)
    assert rows is not None
    uniform = np.random.default_rng(1).random((1_000, rows), dtype=np.float32)
    ones = np.ones(rows, dtype=np.float32)
    outcomes = draw_outcomes(uniform, gain, discordance)
    share = pass_rule(outcomes, ones, alpha=ALPHA, margin=0.0, seed=3).mean()
    assert 0.78 <= share <= 0.9


def test_smaller_gains_and_larger_groups_need_more_rows() -> None:
    alone = find_examples(0.1, 0.2, alpha=ALPHA)
    smaller = find_examples(0.05, 0.2, alpha=ALPHA)
    grouped = find_examples(0.1, 0.2, alpha=ALPHA, rows_per_group=count_rows_per_group([4, 4]))
    assert alone is not None
    assert smaller is not None
    assert smaller > 3 * alone
    assert grouped == pytest.approx(4 * alone, rel=0.05)
    assert find_examples(0.1, 0.05, alpha=ALPHA) is None  # so few changes cannot give it
    assert find_examples(0.05, 0.2, alpha=ALPHA, margin=0.05) is None


@pytest.mark.parametrize("groups", [40, 400])
def test_the_smallest_shift_is_about_what_normal_theory_says(groups: int) -> None:
    shift = find_smallest_shift((1.0,) * groups, alpha=ALPHA)
    assert shift is not None
    assert shift == pytest.approx((2.165 + 0.842) / np.sqrt(groups), rel=0.15)
    uneven = find_smallest_shift((1.0, 9.0) * (groups // 2), alpha=ALPHA)
    assert uneven is not None
    assert uneven > 1.1 * shift


def test_too_few_groups_show_nothing() -> None:
    assert find_smallest_shift((1.0,) * 6, alpha=ALPHA) is None
