"""Packing examples into rows without padding, and planning the optimiser steps of a training."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

PackedRow = tuple[int, ...]
Step = tuple[PackedRow, ...]


def pack_best_fit(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Pack items into rows of at most `budget` tokens by best-fit decreasing.

    The longest item goes first, each into the fullest row that still has room. Time is
    O(n log n + n log budget).

    Args:
        lengths: Tokens of each item, each from 1 to `budget`.
        budget: Tokens that a row may hold.

    Returns:
        Rows of item indices; every item stands in exactly one row.

    Raises:
        ValueError: An item is empty or longer than a row.

    >>> pack_best_fit([5, 3, 4, 2], budget=7)
    [[0, 3], [2, 1]]

    Source: D. S. Johnson, Near-optimal bin packing algorithms (1973).
    """
    if lengths and not 0 < min(lengths) <= max(lengths) <= budget:
        raise ValueError(f"lengths from {min(lengths)} to {max(lengths)} in rows of {budget}")
    rows: list[list[int]] = []
    rows_by_room: dict[int, list[int]] = {}
    rooms: list[int] = []  # the distinct keys of rows_by_room that have rows, ascending
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[item]
        place = bisect.bisect_left(rooms, length)
        if place == len(rooms):
            room, row = budget, len(rows)
            rows.append([])
        else:
            room = rooms[place]
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                rooms.pop(place)
        rows[row].append(item)
        left = room - length
        if not rows_by_room.setdefault(left, []):
            bisect.insort(rooms, left)
        rows_by_room[left].append(row)
    return rows


@dataclass(frozen=True)
class StepPlan:
    """Which examples each optimiser step takes, in which rows."""

    steps: tuple[Step, ...]
    """By step, by row (micro-batch), the indices of the examples; every step has equally many
    rows, filled up with empty ones."""
    steps_per_epoch: int
    lengths: tuple[int, ...]
    """Tokens of each example."""

    @property
    def num_steps(self) -> int:
        """Optimiser steps in all."""
        return len(self.steps)

    @property
    def rows_per_step(self) -> int:
        """Rows of every step, over all processes."""
        return len(self.steps[0])

    @cached_property
    def row_tokens(self) -> int:
        """Tokens of the longest row."""
        return max(sum(self.lengths[i] for i in row) for step in self.steps for row in step)


def plan_steps(
    lengths: Sequence[int],
    *,
    examples_per_step: int,
    budget: int,
    num_epochs: float,
    seed: int,
    world_size: int = 1,
    packing: bool = True,
) -> StepPlan:
    """Plan a training: a seeded order for each epoch, cut into steps, each packed into rows.

    The effective batch is in examples: a step takes `examples_per_step` of them however few rows
    they fill, and the short rest of an epoch is a step of its own.

    Args:
        lengths: Tokens of each example, each from 1 to `budget`.
        examples_per_step: Examples of an optimiser step, over all processes.
        budget: Tokens that a row may hold.
        num_epochs: Passes over the examples; a fraction ends the last pass early, at a whole step.
        seed: Seed of the order.
        world_size: Processes; the rows of a step are a multiple of it.
        packing: Whether a row may hold several examples.

    Raises:
        ValueError: There are no examples, or one does not fit.
    """
    if not lengths:
        raise ValueError("no examples to plan steps for")
    steps_per_epoch = math.ceil(len(lengths) / examples_per_step)
    num_steps = math.ceil(num_epochs * steps_per_epoch)
    batches = []
    for epoch in range(math.ceil(num_steps / steps_per_epoch)):
        order = np.random.default_rng([seed, epoch]).permutation(len(lengths)).tolist()
        batches += [
            order[start : start + examples_per_step]
            for start in range(0, len(order), examples_per_step)
        ]
    packed = [_pack_batch(batch, lengths, budget, packing) for batch in batches[:num_steps]]
    num_rows = math.ceil(max(map(len, packed)) / world_size) * world_size
    steps = tuple((*rows, *[()] * (num_rows - len(rows))) for rows in packed)
    return StepPlan(steps, steps_per_epoch, tuple(lengths))


def _pack_batch(
    batch: Sequence[int], lengths: Sequence[int], budget: int, packing: bool
) -> list[PackedRow]:
    rows = pack_best_fit([lengths[i] for i in batch], budget)
    if not packing:
        rows = [[i] for i in range(len(batch))]
    return [tuple(batch[i] for i in row) for row in rows]
