"""NEFTune: uniform noise on the embeddings in training, scaled by each example's own length.

Jain et al. 2023, "NEFTune: Noisy Embeddings Improve Instruction Finetuning". Shapes: T tokens of a
packed row, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def add_noise(model: Any, alpha: float | None) -> Iterator[None]:
    """Let a model see noisy embeddings inside the block, in training mode only.

    transformers' own hook scales by the length of the row, which is not that of an example where
    several are packed into it.

    Args:
        model: The model, with or without an adapter.
        alpha: Noise of each value is uniform within alpha / sqrt(tokens of its example x width);
            None: no noise.
    """
    if alpha is None:
        yield
        return
    positions: list[torch.Tensor | None] = [None]

    def note_positions(module: Any, args: Any, kwargs: Any) -> None:  # noqa: ARG001
        positions[0] = kwargs.get("position_ids")

    def disturb(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        return disturb_embeddings(output, positions[0], alpha) if model.training else output

    handles = [
        model.register_forward_pre_hook(note_positions, with_kwargs=True),
        model.get_input_embeddings().register_forward_hook(disturb),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def disturb_embeddings(
    embeddings_1TD: torch.Tensor, position_ids_1T: torch.Tensor | None, alpha: float
) -> torch.Tensor:
    """Return embeddings with noise added.

    Args:
        embeddings_1TD: The embeddings of a packed row.
        position_ids_1T: Positions that restart at 0 in each example; None: one example.
        alpha: Scale of the noise.
    """
    _, length, width = embeddings_1TD.shape
    if position_ids_1T is None:
        tokens_1T1: torch.Tensor | int = length
    else:  # nothing here waits for the device
        example_T = (position_ids_1T[0] == 0).cumsum(0) - 1
        counts = torch.zeros_like(example_T).scatter_add(0, example_T, torch.ones_like(example_T))
        tokens_1T1 = counts[example_T][None, :, None]
    scale = alpha / torch.sqrt(torch.as_tensor(tokens_1T1 * width, dtype=torch.float32))
    noise_1TD = torch.empty_like(embeddings_1TD).uniform_(-1, 1)
    return embeddings_1TD + noise_1TD * scale.to(embeddings_1TD)
