"""How far two trained models' weights lie apart."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict

WEIGHTS = ("adapter_model.safetensors", "model*.safetensors")


class WeightDistance(BaseModel):
    """The distance of two sets of weights of one shape."""

    model_config = ConfigDict(frozen=True)

    largest: float
    """Of the differences of single weights."""
    relative: float
    """Norm of all differences over the norm of the first model's weights."""


def measure_distance(first: Path, second: Path) -> WeightDistance | None:
    """Compare the weights of two model folders, in float64.

    Args:
        first: A folder in Hugging Face's shape.
        second: Another.

    Returns:
        The distance; None where a tensor is missing, was added or has another shape, and where
        the first folder has no weights.
    """
    from safetensors import safe_open

    files = sorted({path for pattern in WEIGHTS for path in first.glob(pattern)})
    if not files:
        return None
    largest, squares, total = 0.0, 0.0, 0.0
    for file in files:
        other = second / file.name
        if not other.is_file():
            return None
        with safe_open(file, framework="pt") as a, safe_open(other, framework="pt") as b:
            if set(a.keys()) != set(b.keys()):
                return None
            for name in a.keys():  # noqa: SIM118 - no mapping
                ours, theirs = a.get_tensor(name).double(), b.get_tensor(name).double()
                if ours.shape != theirs.shape:
                    return None
                difference = ours - theirs
                largest = max(largest, float(difference.abs().max())) if ours.numel() else largest
                squares += float(difference.square().sum())
                total += float(ours.square().sum())
    return WeightDistance(
        largest=largest, relative=math.sqrt(squares / total) if total else math.sqrt(squares)
    )
