"""The loss: cross-entropy of the trained tokens only, computed in pieces.

Shapes: K trained tokens of a packed row, V vocabulary.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from torch.utils.checkpoint import checkpoint

from tasks.training.attention import is_varlen
from tasks.training.collator import PackedRow, build_inputs

CHUNK_BYTES = 1 << 28  # float32 logits of one piece: 256 MiB


def compute_token_losses(
    model: Any, row: PackedRow, *, trained_only: bool = True, chunked: bool = True
) -> torch.Tensor:
    """Return the negative log-likelihood of each trained token of a packed row, in nats.

    Args:
        model: A causal language model, with or without an adapter, on the row's device.
        row: The packed row, with at least one trained token.
        trained_only: As in `compute_logits`.
        chunked: As in `compute_cross_entropy`.

    Returns:
        (K,), float32, in the order of the row's tokens.
    """
    logits_KV = compute_logits(model, row, trained_only=trained_only)
    return compute_cross_entropy(logits_KV, row.targets, chunked=chunked)


def compute_logits(model: Any, row: PackedRow, *, trained_only: bool = True) -> torch.Tensor:
    """Return the logits (K, V) that predict each trained token of a packed row.

    Args:
        model: A causal language model, with or without an adapter, on the row's device.
        row: The packed row, with at least one trained token.
        trained_only: Run the head for the positions before trained tokens only: prompt tokens
            cost no logits. False: for all positions, most of them for nothing.
    """
    inputs = build_inputs(row, is_varlen=is_varlen(model))
    logits: torch.Tensor
    if trained_only and takes_logits_to_keep(model):
        logits = model(**inputs, logits_to_keep=row.logits_to_keep).logits[0]
    else:
        logits = model(**inputs).logits[0, row.logits_to_keep]
    return logits


def takes_logits_to_keep(model: Any) -> bool:
    """Tell whether a model can run its head for some positions only."""
    return "logits_to_keep" in inspect.signature(_unwrap(model).forward).parameters


def compute_cross_entropy(
    logits_KV: torch.Tensor, targets_K: torch.Tensor, *, chunked: bool = True
) -> torch.Tensor:
    """Return the cross-entropy of each token in float32.

    Args:
        logits_KV: Logits in the model's precision.
        targets_K: Token ids.
        chunked: In pieces, so that the logits never exist in float32 all at once.
    """
    tokens_per_chunk = max(1, CHUNK_BYTES // (4 * logits_KV.size(1)))
    if not chunked or len(targets_K) <= tokens_per_chunk:
        return _compute_chunk(logits_KV, targets_K)
    chunks = zip(logits_KV.split(tokens_per_chunk), targets_K.split(tokens_per_chunk), strict=True)
    return torch.cat([checkpoint(_compute_chunk, *c, use_reentrant=False) for c in chunks])


def _compute_chunk(logits_KV: torch.Tensor, targets_K: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits_KV.float(), targets_K, reduction="none")


def _unwrap(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
