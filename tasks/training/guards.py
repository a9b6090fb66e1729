"""What stops a training: losses that are no numbers, and packing that does not keep rows apart."""

from __future__ import annotations

import math
from typing import Any

import torch

from configs.errors import RunError
from tasks.training.loss import compute_token_losses
from tasks.training.plan import TrainingPlan
from tasks.training.tokens import TokenSplit

SHOWN_IDS = 5
# Packing changes the order of float operations, no more: bfloat16 has 8 bits, float32 has 24.
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 5e-2}


class FiniteGuard:
    """Collects losses and gradient norms on the device and looks at them when metrics are read.

    Looking at each step would wait for the device each time.
    """

    def __init__(self, plan: TrainingPlan, split: TokenSplit) -> None:
        self.plan = plan
        self.split = split
        self.values: list[tuple[int, str, torch.Tensor]] = []

    def add(self, step: int, name: str, value: torch.Tensor) -> None:
        """Keep a value of an optimiser step until the next look."""
        self.values.append((step, name, value.detach()))

    def check(self) -> None:
        """Look at all values since the last look.

        Raises:
            RunError: One is not finite; it names the step and the rows.
        """
        values, self.values = self.values, []
        if not values:
            return
        finite = torch.isfinite(torch.stack([value.float() for _, _, value in values])).tolist()
        if all(finite):
            return
        step, name, value = values[finite.index(False)]
        ids = [self.split.ids[index] for index in self.plan.find_examples(step)]
        shown = ", ".join(ids[:SHOWN_IDS]) + (", ..." if len(ids) > SHOWN_IDS else "")
        raise RunError(
            where=f"step {step}",
            message=f"the {name} is {value.item()}; it trained on {len(ids)} rows: {shown}",
            hint="lower training.learning_rate or training.max_grad_norm, or look at these rows",
        )


def check_packing(model: Any, split: TokenSplit, dtype: str, device: Any) -> None:
    """Compare the loss of two examples in one row with their losses in rows of their own.

    Nothing else would tell: with a mask or a cache too many, losses are wrong without an error.

    Args:
        model: The model as it trains, in any mode; it is in eval mode afterwards.
        split: The training examples.
        dtype: Precision that the model computes in.
        device: Where the model is.

    Raises:
        RunError: They differ by more than rounding explains, or the loss is not a number.
    """
    model.eval()
    shortest = sorted(range(len(split.lengths)), key=split.lengths.__getitem__)[:2]
    rows = [split.read_row(indices) for indices in (shortest[:1], shortest[1:], shortest)]
    with torch.no_grad():
        sums = [compute_token_losses(model, row.move_to(device)).sum().item() for row in rows]
    separate, packed = sums[0] + sums[1], sums[2]
    ids = " and ".join(split.ids[index] for index in shortest)
    if not math.isfinite(separate):
        raise RunError(message=f"the loss of {ids} is {separate} before any training step")
    if abs(packed - separate) > TOLERANCES[dtype] * max(abs(separate), 1.0):
        raise RunError(
            where="training.packing",
            message=f"the loss of {ids} is {packed:.4f} in one row and {separate:.4f} apart: "
            "this model does not keep packed examples apart",
            hint="set training.packing=false",
        )
