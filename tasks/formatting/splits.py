"""Which split a row belongs to: decided by the hash of its group key, whatever other rows exist."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from configs.schema import DataConfig


@dataclass(frozen=True)
class SplitPlan:
    """Which shares of the groups of the training rows become other splits.

    Validation is taken from one end and test from the other, so that neither depends on the
    other's share, or on whether the source brings the other set.
    """

    validation_fraction: float
    test_fraction: float


def plan_splits(data: DataConfig, evaluation_sets: set[str]) -> SplitPlan:
    """Return the shares to split off: nothing for a split that the source brings itself."""
    return SplitPlan(
        0.0 if "validation" in evaluation_sets else data.validation_fraction,
        0.0 if "test" in evaluation_sets else data.test_fraction,
    )


def place_group(group: str) -> float:
    """Return a group's place in [0, 1), the same for ever.

    >>> place_group("a") == place_group("a") != place_group("b")
    True
    """
    digest = hashlib.sha256(f"split:{group}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def assign_split(group: str, plan: SplitPlan) -> str:
    """Return `validation`, `test` or `train` for a group of training rows."""
    place = place_group(group)
    if place < plan.validation_fraction:
        return "validation"
    if place >= 1 - plan.test_fraction:
        return "test"
    return "train"
