import pytest

from tasks.evaluation.intervals import bound_splits
from tests.tasks.evaluation.rows import make_rows

METRICS = ("exact_match", "nll", "perplexity", "rouge1")


def test_every_metric_that_the_rows_carry_has_an_interval() -> None:
    found = bound_splits({"test": make_rows([1.0, 0.0] * 50), "dev": []}, METRICS)
    assert found["dev"] == {}
    assert set(found["test"]) == {"exact_match", "nll", "perplexity"}
    bounds = found["test"]["exact_match"]
    assert bounds.value == 0.5
    # 95 %: 1.96 standard errors of 0.05.
    assert (bounds.lower, bounds.upper) == pytest.approx((0.4, 0.6), abs=0.02)
    for bounds in found["test"].values():
        assert bounds.lower < bounds.value < bounds.upper


def test_intervals_stay_within_what_a_metric_can_be() -> None:
    found = bound_splits({"test": make_rows([1.0] * 19 + [0.0])}, METRICS)["test"]
    assert found["exact_match"].upper == 1.0
    assert found["exact_match"].lower < 0.9
    rare = bound_splits({"test": make_rows([0.0] * 19 + [1.0])}, METRICS)["test"]
    assert rare["exact_match"].lower == 0.0
