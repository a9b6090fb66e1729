"""Rows and checkpointing are chosen to fit, and given up in order; the batch stays."""

import itertools

import pytest

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.fitting import (
    MAX_ROW_TOKENS,
    Examples,
    MemorySetting,
    choose_computation,
    choose_setting,
    fit_training,
    lower_setting,
)
from tasks.training.known_bases import KNOWN_BASES
from tasks.training.shapes import read_shape

SHAPE = read_shape(KNOWN_BASES["meta-llama/Meta-Llama-3-8B-Instruct"])
LORA = ModelConfig()
TRAINING = TrainingConfig(num_train_epochs=1)
LENGTHS = [700 + 37 * index % 1300 for index in range(400)]
EXAMPLES = Examples(LENGTHS, [length // 3 for length in LENGTHS])
GIB = 2**30


def choose(gib: int, *, device: str = "cuda", **fields: object) -> MemorySetting:
    training = TRAINING.model_copy(update=fields)
    how = choose_computation(LORA, training, device=device, dtype="bfloat16")
    return choose_setting(SHAPE, LORA, training, how, EXAMPLES, gib * GIB)


def test_more_memory_gives_longer_rows_and_less_recomputing() -> None:
    settings = [choose(gib) for gib in (16, 24, 32, 48, 80, 141)]
    assert [s.row_tokens for s in settings] == sorted(s.row_tokens for s in settings)
    again = [s.num_checkpointed for s in settings]
    assert again == sorted(again, reverse=True)
    assert again[0] == 32
    assert 0 < again[1] < 32
    assert settings[-1] == MemorySetting(MAX_ROW_TOKENS, 0)


def test_what_is_asked_for_is_kept() -> None:
    assert choose(141, gradient_checkpointing="on").num_checkpointed == 32
    assert choose(16, gradient_checkpointing="off") == MemorySetting(2048, 0)


@pytest.mark.parametrize("fields", [{"device": "cpu"}, {"packing": False}])
def test_rows_are_not_longer_than_the_longest_example_elsewhere(fields: dict[str, object]) -> None:
    assert choose(141, **fields).row_tokens == 2048  # type: ignore[arg-type]


def test_a_masked_row_stays_short() -> None:
    model = ModelConfig(attn_implementation="sdpa")
    how = choose_computation(model, TRAINING, device="cuda", dtype="bfloat16")
    assert choose_setting(SHAPE, model, TRAINING, how, EXAMPLES, 141 * GIB).row_tokens == 2048


@pytest.mark.parametrize("gib", [24, 48, 141])
def test_the_effective_batch_and_the_examples_stay(gib: int) -> None:
    how = choose_computation(LORA, TRAINING, device="cuda", dtype="bfloat16")
    fitted = fit_training(SHAPE, LORA, TRAINING, how, EXAMPLES, gib * GIB)
    assert fitted.memory.fits(gib * GIB)
    assert fitted.plan.examples_per_step == 16
    for step in range(1, fitted.plan.num_steps + 1):
        found = fitted.plan.find_examples(step)
        assert sorted(found) == sorted(set(found))
        assert len(found) == 16
    rows = [sum(LENGTHS[i] for i in row) for row in fitted.plan.rows]
    assert max(rows) <= fitted.setting.row_tokens


def test_steps_see_the_same_examples_whatever_the_rows() -> None:
    """After memory ran out, a training goes on at the same place in the data."""
    how = choose_computation(LORA, TRAINING, device="cuda", dtype="bfloat16")
    small, large = (
        fit_training(SHAPE, LORA, TRAINING, how, EXAMPLES, gib * GIB).plan for gib in (24, 141)
    )
    assert small.rows_per_step > large.rows_per_step
    assert small.num_steps == large.num_steps
    for step in range(1, small.num_steps + 1):
        assert sorted(small.find_examples(step)) == sorted(large.find_examples(step))


@pytest.mark.parametrize("gib", [24, 141])
def test_a_planned_row_holds_no_more_than_was_bounded(gib: int) -> None:
    how = choose_computation(LORA, TRAINING, device="cuda", dtype="bfloat16")
    fitted = fit_training(SHAPE, LORA, TRAINING, how, EXAMPLES, gib * GIB)
    bound = EXAMPLES.bound_load(fitted.setting, TRAINING)
    load = EXAMPLES.measure_load(fitted.plan, fitted.setting.num_checkpointed)
    assert load.row_tokens <= bound.row_tokens == fitted.setting.row_tokens
    assert load.trained_tokens <= bound.trained_tokens


def test_after_memory_ran_out_checkpointing_comes_first_then_shorter_rows() -> None:
    def lower(setting: MemorySetting | None) -> MemorySetting | None:
        assert setting is not None
        return lower_setting(setting, num_layers=32, max_length=3000, checkpointing="auto")

    tried = [MemorySetting(12_000, 4)]
    while (setting := lower(tried[-1])) is not None:
        tried.append(setting)
    assert tried[1:] == [
        MemorySetting(12_000, 32), MemorySetting(6_000, 32), MemorySetting(3_000, 32),
    ]  # fmt: skip
    for before, after in itertools.pairwise(tried):
        assert after.row_tokens >= 3000
        assert (after.row_tokens, -after.num_checkpointed) < (
            before.row_tokens, -before.num_checkpointed,
        )  # fmt: skip


def test_checkpointing_that_is_off_stays_off() -> None:
    lowered = lower_setting(
        MemorySetting(4096, 0), num_layers=32, max_length=2048, checkpointing="off"
    )
    assert lowered == MemorySetting(2048, 0)
    assert lower_setting(lowered, num_layers=32, max_length=2048, checkpointing="off") is None
