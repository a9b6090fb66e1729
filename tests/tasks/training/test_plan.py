"""The plan keeps the effective batch in examples, and resolves ratios and cadences to steps."""

import pytest

from configs.schema import TrainingConfig
from tasks.training.plan import plan_training, plan_validation

LENGTHS = [58] * 800


def make_training(**fields: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"num_train_epochs": 1, **fields})


def test_packing_does_not_change_the_steps() -> None:
    """800 rows of 58 tokens, 4 x 4: 50 steps an epoch, as without packing."""
    packed = plan_training(LENGTHS, make_training())
    apart = plan_training(LENGTHS, make_training(packing=False))
    assert (packed.num_steps, packed.rows_per_step) == (50, 1)
    assert (apart.num_steps, apart.rows_per_step) == (50, 16)
    for step in (1, 17, 50):
        assert sorted(packed.find_examples(step)) == sorted(apart.find_examples(step))


def test_every_example_comes_once_an_epoch() -> None:
    plan = plan_training([5] * 42, make_training(num_train_epochs=3))
    assert plan.steps_per_epoch == 3
    for epoch in range(3):
        seen = [i for step in (1, 2, 3) for i in plan.find_examples(3 * epoch + step)]
        assert sorted(seen) == list(range(42))


def test_short_rest_of_an_epoch_is_a_step_of_its_own() -> None:
    plan = plan_training([5] * 42, make_training())
    assert [len(plan.find_examples(step)) for step in (1, 2, 3)] == [16, 16, 10]
    assert plan.find_epoch(2) == pytest.approx(32 / 42)
    assert plan.find_epoch(3) == 1.0


def test_max_steps_goes_before_epochs() -> None:
    assert plan_training(LENGTHS, make_training(max_steps=7)).num_steps == 7
    longer = plan_training(LENGTHS, make_training(max_steps=120))
    assert longer.num_steps == 120
    assert len(longer.rows) == 120 * longer.rows_per_step
    assert longer.find_epoch(120) == pytest.approx(2.4)


def test_warmup_ratio_becomes_steps() -> None:
    assert plan_training(LENGTHS, make_training(warmup_ratio=0.03)).warmup_steps == 2
    assert plan_training(LENGTHS, make_training(warmup_ratio=0.5, warmup_steps=4)).warmup_steps == 4
    assert plan_training(LENGTHS, make_training(warmup_ratio=0)).warmup_steps == 0


def test_validation_is_once_an_epoch_by_default() -> None:
    assert plan_training(LENGTHS, make_training()).eval_steps == 50
    assert plan_training(LENGTHS, make_training(eval_steps=20)).eval_steps == 20


def test_validation_rows_hold_every_example_once() -> None:
    lengths = [30, 100, 7, 60]
    for packing in (True, False):
        rows = plan_validation(lengths, make_training(max_length=100, packing=packing))
        assert sorted(i for row in rows for i in row) == [0, 1, 2, 3]
        assert all(sum(lengths[i] for i in row) <= 100 for row in rows)
