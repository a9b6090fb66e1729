"""Compiled rows have one length, chosen so that little of them is padding."""

from __future__ import annotations

import random

import pytest

from configs.schema import TrainingConfig
from tasks.training.constant_rows import choose_row_budget, find_longest_row
from tasks.training.plan import plan_training


def measure_padding(lengths: list[int], training: TrainingConfig, budget: int, full: int) -> float:
    """Return the share of padding in rows of `full` tokens that are packed to a budget."""
    plan = plan_training(lengths, training, row_tokens=budget)
    filled = sum(1 for row in plan.rows if row)
    return 1 - sum(lengths) / (filled * full)


@pytest.mark.parametrize(("batch", "most"), [(16, 16_384), (64, 16_384), (16, 4_096)])
def test_less_is_padding_than_in_rows_as_long_as_can_be(batch: int, most: int) -> None:
    draw = random.Random(0)  # noqa: S311 - test data
    lengths = [min(4_096, max(64, int(draw.lognormvariate(6.2, 0.9)))) for _ in range(800)]
    training = TrainingConfig(
        per_device_train_batch_size=batch, gradient_accumulation_steps=1, max_length=4_096,
        num_train_epochs=1,
    )  # fmt: skip
    budget = choose_row_budget(lengths, training, most=most)
    assert max(lengths) <= budget <= most
    longest = find_longest_row(lengths, plan_training(lengths, training, row_tokens=budget))
    before = measure_padding(lengths, training, most, most)
    assert measure_padding(lengths, training, budget, longest) <= before
    if most > max(lengths):
        assert measure_padding(lengths, training, budget, longest) < 0.6 * before


def test_short_examples_are_not_filled_up_to_the_longest_that_may_come() -> None:
    training = TrainingConfig(per_device_train_batch_size=8, gradient_accumulation_steps=1)
    plan = plan_training([50] * 80, training, row_tokens=2_048)
    assert find_longest_row([50] * 80, plan) == 400


def test_rows_that_are_not_packed_stay_as_they_are() -> None:
    assert choose_row_budget([10, 20], TrainingConfig(packing=False), most=64) == 64
