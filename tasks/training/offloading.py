"""Inputs of the blocks that are computed again, kept in the processor's memory meanwhile.

Under activation checkpointing the input of each block is all that a forward pass keeps; with long
rows and many blocks that is much. It goes to the processor when the block is entered, and comes
back when the backward pass computes the block again. The numbers are the same.

Source: the offloaded checkpoints of Unsloth and of torchtune, on torch's saved-tensor hooks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer

from configs.errors import RequestError

Packed = tuple[torch.device, torch.Tensor]


class OffloadInputs(TrainerCallback):  # type: ignore[misc]
    """Has a training keep the inputs of its blocks on the processor."""

    def on_train_begin(
        self,
        args: Any,  # noqa: ARG002 - transformers' signature
        state: Any,  # noqa: ARG002
        control: Any,  # noqa: ARG002
        model: Any = None,
        **_: Any,
    ) -> None:
        """Change how blocks are called; transformers has just said so for all of them."""
        offload_inputs(model)


def offload_inputs(model: Any) -> None:
    """Keep the inputs of a model's blocks on the processor from their forward to their backward.

    Args:
        model: A model whose activation checkpointing is on; when it is turned on again, its blocks
            are called as before.

    Raises:
        RequestError: transformers does not compute this model's blocks again one by one.
    """
    blocks = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not blocks:
        raise RequestError(
            where="training.activation_offloading",
            message=f"{type(model).__name__} has no blocks that can be computed again one by one",
            allowed="false for this model",
        )
    for block in blocks:
        block._gradient_checkpointing_func = _offload_arguments(  # noqa: SLF001 - no setter
            block._gradient_checkpointing_func  # noqa: SLF001
        )


def _offload_arguments(call_block: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same call, whose tensors that are kept for its repetition lie elsewhere."""

    @functools.wraps(call_block)
    def call(*args: Any, **kwargs: Any) -> Any:
        # torch keeps the arguments by these hooks, and what comes to be inside by its own.
        with saved_tensors_hooks(move_away, bring_back):
            return call_block(*args, **kwargs)

    return call


def move_away(tensor: torch.Tensor) -> Packed:
    """Copy a tensor to the processor, without waiting for it where it comes from a GPU."""
    is_cuda = tensor.device.type == "cuda"
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=is_cuda)
    return tensor.device, copy.copy_(tensor, non_blocking=is_cuda)


def bring_back(packed: Packed) -> torch.Tensor:
    """Return the tensor on its device; the copies of one stream follow one another."""
    device, copy = packed
    return copy.to(device, non_blocking=copy.is_pinned())
