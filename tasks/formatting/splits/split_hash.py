"""Which split a row belongs to: decided by the hash of its group key, whatever other rows exist."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


def hash_group(group: str) -> int:
    """Return 64 bits that stand for a group key, the same for ever."""
    return int.from_bytes(hashlib.sha256(f"split:{group}".encode()).digest()[:8], "big")


def place_group(group: str) -> float:
    """Return a group's place in [0, 1), the same for ever.

    >>> place_group("a") == place_group("a") != place_group("b")
    True
    """
    return float(place_hashes(np.array([hash_group(group)], np.uint64))[0])


def place_hashes(hashes: NDArray[np.uint64], split_version: int = 1) -> NDArray[np.float64]:
    """Return the places in [0, 1) of hashed groups; another version places them afresh."""
    if split_version != 1:
        hashes = mix_bits(hashes + np.uint64(split_version))
    return (hashes >> np.uint64(16)).astype(np.float64) / 2**48  # 48 bits: exact in a float64


def mix_bits(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return well-mixed 64-bit values, one to one.

    Source: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def assign_split(group: str, plan: SplitPlan) -> str:
    """Return `validation`, `test` or `train` for a group of training rows."""
    place = place_group(group)
    if place < plan.validation_fraction:
        return "validation"
    if place >= 1 - plan.test_fraction:
        return "test"
    return "train"
