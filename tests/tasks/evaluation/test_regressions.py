import numpy as np
import pytest

from configs.schema import GateConfig
from tasks.evaluation.gate import ArmEvidence, decide
from tasks.evaluation.power import draw_outcomes
from tasks.evaluation.regressions import find_least_margin, forecast_guard, pass_guard
from tests.tasks.evaluation.rows import make_rows

ALPHA = 0.0152
WON = make_rows([1.0] * 40), make_rows([0.0] * 40)


def guard_in_gate(outcomes: np.ndarray, max_regression: float) -> bool:
    """Let the gate itself decide on adversarial rows that were won, lost or left as they were."""
    opponent = [float(outcome <= 0) for outcome in outcomes]
    candidate = [
        right + outcome for right, outcome in zip(opponent, outcomes.tolist(), strict=True)
    ]
    result = decide(
        {
            "finetuned": ArmEvidence({"test": WON[0], "adversarial": make_rows(candidate)}),
            "baseline": ArmEvidence({"test": WON[1], "adversarial": make_rows(opponent)}),
        },
        primary_metrics=["exact_match"],
        gate=GateConfig(max_regression=max_regression),
        alpha=ALPHA,
    )
    return result.checks[1].passed


@pytest.mark.parametrize(("discordance", "margin"), [(0.02, 0.06), (0.15, 0.1)])
def test_the_simulated_guard_is_the_gates(discordance: float, margin: float) -> None:
    uniform = np.random.default_rng(0).random((40, 100), dtype=np.float32)
    outcomes = draw_outcomes(uniform, -0.01, discordance)
    sizes = np.ones(100, dtype=np.float32)
    found = pass_guard(outcomes, sizes, alpha=ALPHA, margin=-margin, seed=0)
    expected = np.array([guard_in_gate(outcome, margin) for outcome in outcomes])
    assert 3 < expected.sum() < 40
    assert (found == expected).mean() >= 0.95  # 2,000 resamples instead of 10,000


def test_a_regression_beyond_the_margin_passes_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(1)
    for groups, discordance in ((100, 0.05), (200, 0.06), (68, 0.1), (200, 0.2)):
        uniform = rng.random((4_000, groups), dtype=np.float32)
        outcomes = draw_outcomes(uniform, -0.05, discordance)
        sizes = np.ones(groups, dtype=np.float32)
        passed = pass_guard(outcomes, sizes, alpha=ALPHA, margin=-0.05, seed=0).mean()
        assert passed <= ALPHA + 3 * np.sqrt(ALPHA / 4_000), (groups, discordance)


def test_what_is_announced_is_held_back() -> None:
    forecast = forecast_guard([1] * 1000, alpha=ALPHA, max_regression=0.05)
    rng = np.random.default_rng(2)
    sizes = np.ones(1000, dtype=np.float32)
    for discordance, regression in forecast.smallest_regression.items():
        assert regression is not None
        assert regression < 0.05
        uniform = rng.random((1_000, 1000), dtype=np.float32)
        outcomes = draw_outcomes(uniform, -regression, discordance)
        passed = pass_guard(outcomes, sizes, alpha=ALPHA, margin=-0.05, seed=0).mean()
        assert 0.1 <= passed <= 0.2 + 0.03
    assert sorted(forecast.equal_passes.values(), reverse=True) == list(
        forecast.equal_passes.values()
    )


def test_margins_that_an_equal_model_fails_are_hopeless() -> None:
    assert forecast_guard([1] * 40, alpha=ALPHA, max_regression=0.05).is_hopeless
    assert forecast_guard([1] * 5, alpha=ALPHA, max_regression=0.9).is_hopeless
    assert forecast_guard([1] * 2000, alpha=ALPHA, max_regression=0.0).is_hopeless
    assert not forecast_guard([1] * 1000, alpha=ALPHA, max_regression=0.05).is_hopeless
    assert forecast_guard([7], alpha=ALPHA, max_regression=0.5).is_hopeless


def test_the_least_margin_is_not_hopeless() -> None:
    least = find_least_margin([1] * 100, alpha=ALPHA)
    assert least is not None
    assert not forecast_guard([1] * 100, alpha=ALPHA, max_regression=least).is_hopeless
    assert forecast_guard([1] * 100, alpha=ALPHA, max_regression=least - 0.01).is_hopeless
    assert find_least_margin([1] * 5, alpha=ALPHA) is None
    assert find_least_margin([1], alpha=ALPHA) is None


def test_no_regression_beyond_the_changes_is_looked_for() -> None:
    found = forecast_guard([1] * 300, alpha=ALPHA, max_regression=0.2).smallest_regression
    assert found[0.05] is None
    assert found[0.4] is not None
