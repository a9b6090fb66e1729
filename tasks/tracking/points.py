"""What is tracked of a training: a metric's value at an optimiser step, and its name elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricPoint:
    """A metric's value at an optimiser step."""

    key: str
    value: float
    step: int
    timestamp_ms: int


def name_scalar(key: str) -> str:
    """Return a metric's name in charts, in one group for training and one for validation.

    >>> name_scalar("eval_loss"), name_scalar("loss")
    ('eval/loss', 'train/loss')
    """
    return f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}"
