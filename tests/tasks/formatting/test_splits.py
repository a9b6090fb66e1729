from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from configs.schema import DataConfig
from tasks.formatting.splits import SplitPlan, assign_split, place_group, plan_splits


@given(st.lists(st.text(), max_size=50))
def test_places_are_shares_of_one(groups: list[str]) -> None:
    assert all(0 <= place_group(group) < 1 for group in groups)


def test_the_shares_are_as_asked() -> None:
    plan = SplitPlan(validation_fraction=0.1, test_fraction=0.2)
    counts = Counter(assign_split(f"group {n}", plan) for n in range(10_000))
    assert abs(counts["validation"] - 1000) < 150
    assert abs(counts["test"] - 2000) < 200


def test_the_places_are_fixed_for_ever() -> None:
    # Other values here would move rows of existing users from training to test.
    plan = SplitPlan(0.1, 0.1)
    assert "".join(assign_split(g, plan)[:2] for g in "abcdefghijkl") == "trtrvatrtrvatrtrtrtrtrte"
    assert f"{place_group('flowroll'):.6f}" == "0.339289"


@given(st.text(), st.floats(0, 0.6))
def test_the_test_split_does_not_depend_on_validation(group: str, fraction: float) -> None:
    data = DataConfig(validation_fraction=0.2, test_fraction=0.3)
    is_test = assign_split(group, plan_splits(data, set())) == "test"
    other = data.model_copy(update={"validation_fraction": fraction})
    for plan in (plan_splits(other, set()), plan_splits(data, {"validation"})):
        assert (assign_split(group, plan) == "test") == is_test


@given(st.text())
def test_a_group_of_validation_or_training_stays_when_a_test_set_is_brought(group: str) -> None:
    data = DataConfig(validation_fraction=0.2, test_fraction=0.3)
    without = assign_split(group, plan_splits(data, set()))
    with_test = assign_split(group, plan_splits(data, {"test"}))
    assert with_test == ("train" if without == "test" else without)


def test_a_split_that_the_source_brings_is_not_split_off() -> None:
    plan = plan_splits(DataConfig(), {"test", "validation"})
    assert plan == SplitPlan(0.0, 0.0)
