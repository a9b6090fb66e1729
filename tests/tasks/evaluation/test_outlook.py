from typing import Any

import pytest

from configs.schema import GateConfig, GuardConfig
from tasks.evaluation.outlook import Outlook, PlannedRow, foresee_examples, foresee_gate

ALPHA = 0.0152


def make_set(groups: int, rows: int = 1) -> list[PlannedRow]:
    return [
        PlannedRow(f"g{group}", {"kind": "a" if group % 2 else "b"}, 20)
        for group in range(groups)
        for _ in range(rows)
    ]


def foresee(splits: dict[str, list[PlannedRow]], *metrics: str, **gate: Any) -> Outlook:
    alpha = gate.pop("look_alpha", ALPHA)
    config = GateConfig(**gate)
    names = metrics or ("exact_match",)
    return foresee_gate(splits, primary_metrics=names, gate=config, alpha=alpha, first_alpha=ALPHA)


def test_a_test_set_alone_has_no_guards() -> None:
    outlook = foresee({"test": make_set(200)})
    assert outlook.refusals == ()
    assert outlook.smallest_regression == outlook.equal_passes == {}
    assert outlook.smallest_nll_gain == {}
    assert list(outlook.smallest_gain) == ["0.1", "0.2", "0.4"]
    examples = foresee_examples([1] * 200, ALPHA, 0.0)
    assert {gain: list(found) for gain, found in examples.items()} == {
        "0.02": ["0.1", "0.2", "0.4"], "0.05": ["0.1", "0.2", "0.4"], "0.1": ["0.1", "0.2", "0.4"],
    }  # fmt: skip
    needed = examples["0.1"]["0.2"]
    gain = outlook.smallest_gain["0.2"]
    assert needed is not None
    assert gain is not None
    assert (needed > 200) == (gain > 0.1)


def test_a_margin_that_equal_models_fail_is_refused_with_one_that_does() -> None:
    sets = {"test": make_set(200), "adversarial": make_set(60)}
    outlook = foresee(sets)
    ((guard, why),) = outlook.refusals
    assert (guard.split, guard.max_regression) == ("adversarial", 0.05)
    assert "0.05 on 60 rows in 60 groups would hold back a model that is exactly as good" in why
    least = float(why.split("allow at least ")[1].split(",")[0])
    assert foresee(sets, max_regression=least).refusals == ()
    assert foresee(sets, max_regression=least - 0.01).refusals != ()


def test_guards_of_slices_are_planned_on_their_rows() -> None:
    guard = GuardConfig(metric="jaccard", slice={"kind": "a"}, max_regression=0.2)
    outlook = foresee({"test": make_set(200)}, guards=(guard,))
    assert list(outlook.equal_passes) == ["jaccard on test where kind=a"]
    both = foresee({"test": make_set(200)}, guards=(GuardConfig(metric="jaccard", slice="kind"),))
    assert {guard.slice_name for guard, _ in both.refusals} == {"kind=a", "kind=b"}


def test_not_worse_is_a_margin_on_the_test_set() -> None:
    assert foresee({"test": make_set(60)}).refusals == ()
    ((guard, _),) = foresee({"test": make_set(60)}, champion="not_worse").refusals
    assert guard.split == "test"
    large = foresee({"test": make_set(1000)}, champion="not_worse")
    assert large.refusals == ()
    assert large.equal_passes["exact_match on test"]["0.05"] > 0.9


@pytest.mark.parametrize(
    ("groups", "margin", "why"), [(5, 0.5, "below 7 no guard ever passes"), (50, 0.0, "bit worse")]
)
def test_ratios_are_refused_only_for_what_holds_for_any_noise(
    groups: int, margin: float, why: str
) -> None:
    sets = {"test": make_set(100), "adversarial": make_set(groups)}
    ((_, found),) = foresee(sets, "nll", max_regression=margin).refusals
    assert why in found
    assert foresee(sets | {"adversarial": make_set(50)}, "nll").refusals == ()


def test_nll_gains_are_told_by_their_spread() -> None:
    outlook = foresee({"test": make_set(100)}, "nll", min_improvement=0.01)
    gains = outlook.smallest_nll_gain
    assert list(gains) == ["0.05", "0.1", "0.2"]
    assert gains["0.1"] - 0.01 == pytest.approx(2 * (gains["0.05"] - 0.01))
    assert gains["0.05"] == pytest.approx(0.01 + 0.05 * 3.0 / 10, rel=0.15)


def test_a_margin_that_later_looks_outgrow_is_not_refused() -> None:
    sets = {"test": make_set(200), "adversarial": make_set(100)}
    first = foresee(sets, max_regression=0.08)
    assert (first.refusals, first.worn) == ((), ())
    late = foresee(sets, max_regression=0.08, look_alpha=0.0001)
    assert late.refusals == ()
    ((guard, why),) = late.worn
    assert guard.split == "adversarial"
    assert "allow at least" in why
