"""What stops a training: losses that are no numbers, and packing that does not keep rows apart."""

from __future__ import annotations

import math
from typing import Any

import torch

from configs.errors import RunError
from tasks.training.attention import use_attention
from tasks.training.loss import compute_token_losses
from tasks.training.plan import TrainingPlan
from tasks.training.tokens import TokenSplit

SHOWN_IDS = 5
MAX_SKIPPED_STEPS = 20  # the scale of the loss is then 2^-20 of what it was
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
        self.num_skipped = 0

    def add(self, step: int, name: str, value: torch.Tensor) -> None:
        """Keep a value of an optimiser step until the next look."""
        self.values.append((step, name, value.detach()))

    def count_skipped(self, step: int, *, is_skipped: bool) -> None:
        """Count the steps in a row that loss scaling skipped, because a gradient was not finite.

        Args:
            step: The optimiser step that was done last.
            is_skipped: Whether it left the weights as they were.

        Raises:
            RunError: Nothing has been learnt for 20 steps.
        """
        self.num_skipped = self.num_skipped + 1 if is_skipped else 0
        if self.num_skipped >= MAX_SKIPPED_STEPS:
            raise RunError(
                where=f"step {step}",
                message=f"the gradient was not finite in {self.num_skipped} steps in a row, "
                "however small the scale of the loss",
                hint="lower training.learning_rate, or set model.dtype=float32 or bfloat16",
            )

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


def check_packing(
    model: Any,
    split: TokenSplit,
    dtype: str,
    device: Any,
    *,
    own_attention: str,
    packing: bool,
) -> None:
    """Compare the loss of two examples as they are trained on with what the base model gives them.

    Nothing else would tell: with a mask or a cache too many, losses are wrong without an error.

    Args:
        model: The model as it trains, in any mode; it is in eval mode afterwards.
        split: The training examples.
        dtype: Precision that the model computes in.
        device: Where the model is.
        own_attention: The model's own attention, which the reference is computed with, each
            example alone; a kernel that is wrong in every row would agree with itself.
        packing: Whether the two are trained on in one row.

    Raises:
        RunError: They differ by more than rounding explains, or the loss is not a number.
    """
    model.eval()
    shortest = sorted(range(len(split.lengths)), key=split.lengths.__getitem__)[:2]
    apart = [[index] for index in shortest]
    found = _sum_losses(model, split, [shortest] if packing else apart, device)
    with use_attention(model, own_attention):
        expected = _sum_losses(model, split, apart, device)
    ids = " and ".join(split.ids[index] for index in shortest)
    if not math.isfinite(expected):
        raise RunError(message=f"the loss of {ids} is {expected} before any training step")
    if not abs(found - expected) <= TOLERANCES[dtype] * max(abs(expected), 1.0):
        raise RunError(
            where="training.packing" if packing else "model.attn_implementation",
            message=f"the loss of {ids} is {found:.4f} {'in one row' if packing else 'in training'}"
            f" and {expected:.4f} apart, with the model's own attention ({own_attention}): "
            "this model would be trained on wrong losses",
            hint="set training.packing=false" if packing else f"set it to {own_attention}",
        )


def _sum_losses(model: Any, split: TokenSplit, rows: list[list[int]], device: Any) -> float:
    """Return the sum of the token losses of some rows of examples."""
    with torch.no_grad():
        losses = [compute_token_losses(model, split.read_row(row).move_to(device)) for row in rows]
    return float(torch.cat(losses).sum().item())
