import numpy as np
import pytest
from scipy import stats

from tasks.evaluation.shares import (
    bound_loss,
    bound_share,
    compute_mcnemar,
    count_independent,
)


def bound(improvement: float, share: float = 1.0, groups: int = 100) -> float:
    found = bound_loss(improvement, share, groups, alpha=0.025, num_groups=groups)
    return float(found)


@pytest.mark.parametrize("lost", [0, 1, 5, 30])
def test_losses_alone_are_bounded_as_wilson_does(lost: int) -> None:
    expected = stats.binomtest(lost, 2000, alternative="less").proportion_ci(0.975, "wilson").high
    assert bound(-lost / 2000, groups=2000) == pytest.approx(-expected, rel=0.01)  # t, not z


@pytest.mark.parametrize("groups", [20, 60, 250, 1000])
@pytest.mark.parametrize("share", [0.02, 0.05, 0.2])
def test_the_bound_fails_about_as_often_as_alpha(groups: int, share: float) -> None:
    counts = np.arange(groups + 1)
    bounds = bound_loss(-counts / groups, 1.0, groups, alpha=0.025, num_groups=groups)
    missed = stats.binom.pmf(counts, groups, share)[-share < bounds].sum()
    assert missed <= 0.03


def test_more_groups_and_fewer_losses_bound_nearer() -> None:
    assert bound(0.0, groups=20) < bound(0.0, groups=200) < 0
    assert bound(-0.1) < bound(-0.05) < bound(0.0) < bound(0.005)
    assert bound(0.005) < 0.005


def test_what_is_won_leaves_the_bound_to_the_bootstrap() -> None:
    assert bound(0.3) == np.inf


def test_what_the_opponent_has_not_cannot_be_lost() -> None:
    assert bound(0.0, share=0.0) == np.inf
    assert bound(0.0, share=0.1) == pytest.approx(0.1 * bound(0.0))
    assert np.isinf(bound_loss(0.0, 0.5, 0, alpha=0.025, num_groups=9))


def test_unequal_groups_say_less_than_their_number() -> None:
    assert count_independent([]) == 0
    assert count_independent([1] * 9) == 9
    assert count_independent([5, 1, 1, 1, 1]) < 3


@pytest.mark.parametrize(
    ("won", "lost"), [(0, 0), (1, 0), (8, 1), (5, 5), (12, 30), (600, 480), (2500, 2400)]
)
def test_mcnemar_is_the_exact_binomial_test(won: int, lost: int) -> None:
    expected = stats.binomtest(won, won + lost, 0.5).pvalue if won + lost else 1.0
    assert compute_mcnemar(won, lost) == pytest.approx(expected)
    assert compute_mcnemar(won, lost) == compute_mcnemar(lost, won)


@pytest.mark.parametrize("right", [0, 1, 900, 2000])
def test_a_share_is_bounded_as_wilson_does(right: int) -> None:
    expected = stats.binomtest(right, 2000).proportion_ci(0.95, "wilson")
    found = bound_share(right / 2000, 2000, alpha=0.025, num_groups=2000)
    assert found == pytest.approx((expected.low, expected.high), rel=0.01, abs=1e-12)  # t, not z
