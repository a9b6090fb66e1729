"""How a training is made to fit its device: the length of rows, and activation checkpointing.

The effective batch stays what was asked for: more tokens in a row are fewer rows in a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.activations import Computation
from tasks.training.memory import BYTES, MemoryPlan, RowLoad, predict_memory
from tasks.training.plan import TrainingPlan, plan_training
from tasks.training.shapes import Shape

MAX_ROW_TOKENS = 16_384  # a step of a GPU is then long enough to hide what it costs to start
Checkpointing = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class MemorySetting:
    """What a training may change to fit without changing what it computes.

    Attributes:
        row_tokens: Most tokens of a packed row, never below `training.max_length`.
        num_checkpointed: Blocks, from the first, that are computed again in the backward pass.
    """

    row_tokens: int
    num_checkpointed: int


@dataclass(frozen=True)
class Examples:
    """The examples of a training, as far as memory depends on them.

    Attributes:
        lengths: Tokens of each.
        trained: Tokens in the loss of each.
        world_size: Devices that share a step.
    """

    lengths: Sequence[int]
    trained: Sequence[int]
    world_size: int = 1

    def bound_load(self, setting: MemorySetting, training: TrainingConfig) -> RowLoad:
        """Return the most that a row can hold, whatever examples meet in it."""
        count = count_examples_per_step(training) if training.packing else 1
        tokens = min(setting.row_tokens, sum(sorted(self.lengths)[-count:]))
        trained = min(tokens, sum(sorted(self.trained)[-count:]))
        return RowLoad(tokens, trained, setting.num_checkpointed)

    def measure_load(self, plan: TrainingPlan, num_checkpointed: int) -> RowLoad:
        """Return the most that a planned row holds."""
        return RowLoad(
            row_tokens=max(sum(self.lengths[i] for i in row) for row in plan.rows),
            trained_tokens=max(sum(self.trained[i] for i in row) for row in plan.rows),
            num_checkpointed=num_checkpointed,
            accumulates=plan.rows_per_step > self.world_size,
        )


@dataclass(frozen=True)
class FittedTraining:
    """A training as it is planned for a device.

    Attributes:
        setting: Rows and checkpointing.
        plan: Every micro-batch and step.
        memory: The predicted peak.
    """

    setting: MemorySetting
    plan: TrainingPlan
    memory: MemoryPlan


def fit_training(
    shape: Shape,
    model: ModelConfig,
    training: TrainingConfig,
    how: Computation,
    examples: Examples,
    memory_bytes: int,
) -> FittedTraining:
    """Choose rows and checkpointing, lay out the steps, and predict their peak.

    Args:
        shape: The base model's sizes.
        model: Method, rank and targets.
        training: The optimisation.
        how: Precision, device and attention; see `choose_computation`.
        examples: What is trained on.
        memory_bytes: Memory that is free on the device.
    """
    setting = choose_setting(shape, model, training, how, examples, memory_bytes)
    plan = plan_training(
        examples.lengths,
        training,
        world_size=examples.world_size,
        row_tokens=setting.row_tokens,
    )
    load = examples.measure_load(plan, setting.num_checkpointed)
    return FittedTraining(setting, plan, predict_memory(shape, model, training, load, how))


def count_examples_per_step(training: TrainingConfig) -> int:
    """Return the examples of an optimiser step on one device."""
    return training.per_device_train_batch_size * training.gradient_accumulation_steps


def choose_computation(
    model: ModelConfig, training: TrainingConfig, *, device: str, dtype: str
) -> Computation:
    """Return how a model will compute, before it is loaded.

    Args:
        model: The attention that is asked for.
        training: Whether rows are packed.
        device: `cuda`, `mps` or `cpu`.
        dtype: Precision of the matrix products.
    """
    attention = model.attn_implementation
    if attention == "auto":
        attention = "varlen" if training.packing else "sdpa"
    return Computation(BYTES[dtype], device == "cuda", attention, training.packing)


def choose_setting(
    shape: Shape,
    model: ModelConfig,
    training: TrainingConfig,
    how: Computation,
    examples: Examples,
    memory_bytes: int,
) -> MemorySetting:
    """Choose rows and checkpointing: the longest rows that need none, else as little as it takes.

    Args:
        shape: The base model's sizes.
        model: Method, rank and targets.
        training: Row length, packing, and whether checkpointing is on, off or free.
        how: Precision, device and attention.
        examples: What the rows are made of.
        memory_bytes: Memory that is free on the device.

    Returns:
        The setting; the leanest one where none fits.
    """

    def fits(setting: MemorySetting) -> bool:
        load = examples.bound_load(setting, training)
        return predict_memory(shape, model, training, load, how).fits(memory_bytes)

    all_blocks = shape.num_layers
    is_on = training.activation_offloading
    checkpointing = "on" if is_on else training.gradient_checkpointing
    least, most = _find_bounds(checkpointing, all_blocks)
    for row_tokens in _list_rows(training, how, examples):
        setting = MemorySetting(row_tokens, least)
        if fits(setting):
            return setting
    for num_checkpointed in range(least, most):
        setting = MemorySetting(training.max_length, num_checkpointed)
        if fits(setting):
            return setting
    return MemorySetting(training.max_length, most)


def lower_setting(
    failed: MemorySetting, *, num_layers: int, max_length: int, checkpointing: Checkpointing
) -> MemorySetting | None:
    """Return what to try after memory ran out, or None where there is nothing left to give up.

    Activation checkpointing comes first, then shorter rows, down to one longest example: no
    example is ever cut. The examples of an optimiser step stay the same.

    Args:
        failed: What ran out of memory.
        num_layers: Blocks of the model.
        max_length: Longest example, in tokens.
        checkpointing: `training.gradient_checkpointing`; `off` is kept.

    >>> lower_setting(MemorySetting(8192, 4), num_layers=32, max_length=2048, checkpointing="auto")
    MemorySetting(row_tokens=8192, num_checkpointed=32)
    >>> lower_setting(MemorySetting(8192, 32), num_layers=32, max_length=2048, checkpointing="on")
    MemorySetting(row_tokens=4096, num_checkpointed=32)
    >>> lower_setting(MemorySetting(2048, 32), num_layers=32, max_length=2048, checkpointing="on")
    """
    if checkpointing != "off" and failed.num_checkpointed < num_layers:
        return replace(failed, num_checkpointed=num_layers)
    if failed.row_tokens > max_length:
        return replace(failed, row_tokens=max(max_length, failed.row_tokens // 2))
    return None


def _find_bounds(checkpointing: Checkpointing, num_layers: int) -> tuple[int, int]:
    """Return the fewest and the most blocks that may be computed again."""
    return {"on": (num_layers, num_layers), "off": (0, 0), "auto": (0, num_layers)}[checkpointing]


def _list_rows(training: TrainingConfig, how: Computation, examples: Examples) -> list[int]:
    """Return the row lengths to try, the longest first.

    Longer rows than the longest example pay on a GPU only, and only without a mask, whose size is
    the row's squared; more than a step holds is never filled.
    """
    if not (how.is_cuda and how.attention == "varlen" and training.packing):
        return [training.max_length]
    mean_tokens = sum(examples.lengths) / len(examples.lengths)
    step_tokens = mean_tokens * count_examples_per_step(training)
    rows = [training.max_length]
    while 2 * rows[-1] <= MAX_ROW_TOKENS and rows[-1] < step_tokens:
        rows.append(2 * rows[-1])
    return rows[::-1]
