"""The plan of a training: every micro-batch and step, known before torch is imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from configs.schema import TrainingConfig
from tasks.formatting.tokens.packing import pack_best_fit, plan_steps

Row = tuple[int, ...]
JUDGED_TOKENS = "judged_tokens"
"""Metric of a training on judged answers: the tokens of all its steps, both answers counted."""


@dataclass(frozen=True)
class TrainingPlan:
    """What a training will do, in order.

    Attributes:
        rows: Micro-batches over all steps, each the indices of the examples packed into it; a row
            may be empty, so that every step has equally many.
        rows_per_step: Micro-batches of an optimiser step (over all devices).
        num_steps: Optimiser steps.
        num_examples: Training examples.
        examples_per_step: The effective batch; the last step of an epoch may take fewer.
        steps_per_epoch: Optimiser steps of a pass over the examples.
        warmup_steps: Steps in which the learning rate rises.
        eval_steps: Steps between validations.
        save_steps: Steps between checkpoints; the best and the last step have one besides.
        logging_steps: Steps between logged metrics.
    """

    rows: tuple[Row, ...]
    rows_per_step: int
    num_steps: int
    num_examples: int
    examples_per_step: int
    steps_per_epoch: int
    warmup_steps: int
    eval_steps: int
    save_steps: int
    logging_steps: int

    def find_examples(self, step: int) -> tuple[int, ...]:
        """Return the indices of the examples that an optimiser step trains on, from step 1."""
        rows = self.rows[(step - 1) * self.rows_per_step : step * self.rows_per_step]
        return tuple(index for row in rows for index in row)

    def find_rows(self, rank: int, num_ranks: int) -> tuple[Row, ...]:
        """Return the micro-batches of one of the processes that share each step, in order.

        >>> plan = TrainingPlan(((0,), (1,), (2,), ()), 2, 2, 3, 2, 2, 0, 1, 1, 1)
        >>> plan.find_rows(0, 2), plan.find_rows(1, 2)
        (((0,), (2,)), ((1,), ()))
        """
        steps = range(0, len(self.rows), self.rows_per_step)
        return tuple(
            row
            for start in steps
            for row in self.rows[start : start + self.rows_per_step][rank::num_ranks]
        )

    def find_epoch(self, step: int) -> float:
        """Return how many passes over the examples are done after an optimiser step."""
        epochs, steps = divmod(step, self.steps_per_epoch)
        return epochs + min(1.0, steps * self.examples_per_step / self.num_examples)


def plan_training(
    lengths: Sequence[int],
    training: TrainingConfig,
    *,
    world_size: int | None = None,
    row_tokens: int | None = None,
) -> TrainingPlan:
    """Lay out the micro-batches and steps of a training.

    The effective batch is in examples, whatever the packing: packing changes how many rows a step
    has, never what it learns from.

    Args:
        lengths: Tokens of each training example.
        training: Batch, epochs, packing, seed and cadence.
        world_size: Devices that share a step; by default `training.num_gpus`.
        row_tokens: Most tokens of a packed row; by default `training.max_length`.
    """
    world_size = world_size or training.num_gpus
    examples_per_step = (
        training.per_device_train_batch_size * training.gradient_accumulation_steps * world_size
    )
    steps_per_epoch = math.ceil(len(lengths) / examples_per_step)
    num_epochs = training.num_train_epochs
    if training.max_steps > 0:  # as in transformers, it overrides the epochs
        num_epochs = math.ceil(training.max_steps / steps_per_epoch)
    planned = plan_steps(
        lengths,
        examples_per_step=examples_per_step,
        budget=row_tokens or training.max_length,
        num_epochs=num_epochs,
        seed=training.seed,
        world_size=world_size,
        packing=training.packing,
    )
    num_steps = training.max_steps if training.max_steps > 0 else planned.num_steps
    return TrainingPlan(
        rows=tuple(row for step in planned.steps[:num_steps] for row in step),
        rows_per_step=planned.rows_per_step,
        num_steps=num_steps,
        num_examples=len(lengths),
        examples_per_step=examples_per_step,
        steps_per_epoch=steps_per_epoch,
        warmup_steps=training.warmup_steps or math.ceil(training.warmup_ratio * num_steps),
        eval_steps=training.eval_steps or steps_per_epoch,
        save_steps=_find_save_steps(training, steps_per_epoch, num_steps),
        logging_steps=training.logging_steps,
    )


def _find_save_steps(training: TrainingConfig, steps_per_epoch: int, num_steps: int) -> int:
    if training.save_strategy == "best":
        return num_steps
    if training.save_strategy == "epoch":
        return steps_per_epoch
    return training.save_steps or training.eval_steps or steps_per_epoch


def plan_validation(lengths: Sequence[int], training: TrainingConfig) -> tuple[Row, ...]:
    """Return the rows of the validation split, packed as the training rows are."""
    if not training.packing:
        return tuple((index,) for index in range(len(lengths)))
    return tuple(tuple(row) for row in pack_best_fit(lengths, training.max_length))
