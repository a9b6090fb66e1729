"""Activation checkpointing of some blocks of a model only."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer


class CheckpointFirst(TrainerCallback):  # type: ignore[misc]
    """Leaves activation checkpointing, where it is on, to the first blocks.

    Args:
        num_checkpointed: How many keep it.
    """

    def __init__(self, num_checkpointed: int) -> None:
        self.num_checkpointed = num_checkpointed

    def on_train_begin(
        self,
        args: Any,  # noqa: ARG002 - transformers' signature
        state: Any,  # noqa: ARG002
        control: Any,  # noqa: ARG002
        model: Any = None,
        **_: Any,
    ) -> None:
        """Take it off the others; transformers turns it on for all before this."""
        if self.num_checkpointed:
            checkpoint_first_blocks(model, self.num_checkpointed)


def checkpoint_first_blocks(model: Any, num_checkpointed: int) -> None:
    """Let only the first blocks of a model be computed again in the backward pass.

    The first, because the backward pass reaches them last, when the activations of all others are
    gone: computing the last ones again would come on top of them.

    Args:
        model: A model whose activation checkpointing is on for all blocks.
        num_checkpointed: How many blocks keep it.
    """
    blocks = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for index, block in enumerate(blocks):
        block.gradient_checkpointing = index < num_checkpointed
