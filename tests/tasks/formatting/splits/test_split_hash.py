from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import DataConfig
from tasks.formatting.splits.split_hash import (
    SplitPlan,
    assign_split,
    hash_group,
    mix_bits,
    place_group,
    place_hashes,
    plan_splits,
)


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


def test_another_version_gives_other_places_as_evenly() -> None:
    hashes = np.array([hash_group(f"group {n}") for n in range(10_000)], np.uint64)
    first, second = place_hashes(hashes), place_hashes(hashes, 2)
    assert first.tolist() == [place_group(f"group {n}") for n in range(10_000)]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert np.abs(np.histogram(second, 10, (0, 1))[0] - 1000).max() < 150


def test_mixed_bits_are_those_of_the_source() -> None:
    # The first values of SplitMix64 with the seed 0: the finaliser of multiples of its step.
    steps = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mix_bits(steps).tolist() == [
        0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F,
    ]  # fmt: skip
