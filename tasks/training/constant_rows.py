"""The one length of all rows of a compiled training: as little of it as can be is padding."""

from __future__ import annotations

from collections.abc import Sequence

from configs.schema import TrainingConfig
from tasks.training.plan import TrainingPlan, plan_training

NUM_BUDGETS = 24
MAX_STEPS = 200  # of the plan that is looked at; more of the same examples tell no more
ROW_TOKENS = 128  # what a row costs besides its tokens: the time to start its kernels, in tokens


def find_longest_row(lengths: Sequence[int], plan: TrainingPlan) -> int:
    """Return the tokens of the longest planned row, which all others are filled up to."""
    return max(sum(lengths[index] for index in row) for row in plan.rows)


def choose_row_budget(
    lengths: Sequence[int], training: TrainingConfig, *, most: int, world_size: int = 1
) -> int:
    """Return the budget of a row with which the rows, all as long as the longest, cost least.

    The examples of a step are given, and fill a whole number of rows; with a budget that they
    just exceed, the last row would be nearly empty. Of equal budgets the largest is taken.

    Args:
        lengths: Tokens of each training example.
        training: Batch and packing.
        most: Tokens of a row that fit the device.
        world_size: Devices that share a step.

    >>> eight = TrainingConfig(per_device_train_batch_size=8, gradient_accumulation_steps=1)
    >>> choose_row_budget([100] * 80, eight, most=700)
    475
    """
    least = max(lengths)
    if not training.packing or least >= most:
        return most
    steps = training.max_steps if training.max_steps > 0 else MAX_STEPS
    looked_at = training.model_copy(
        update={"num_train_epochs": 1.0, "max_steps": min(steps, MAX_STEPS)}
    )

    def count_cost(budget: int) -> int:
        plan = plan_training(lengths, looked_at, world_size=world_size, row_tokens=budget)
        filled = sum(1 for row in plan.rows if row)
        return filled * (find_longest_row(lengths, plan) + ROW_TOKENS)

    budgets = {most - (most - least) * i // NUM_BUDGETS for i in range(NUM_BUDGETS + 1)}
    return min(budgets, key=lambda budget: (count_cost(budget), -budget))
