"""Attention for packed rows, each example to itself, registered with transformers as hone_varlen.

Shapes: B rows (always 1), H heads, G key/value heads, T tokens of the row, D size of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from configs.errors import RequestError

VARLEN = "hone_varlen"
# What FlashAttention inside torch computes.
FLASH_DTYPES = (torch.bfloat16, torch.float16)
FLASH_CAPABILITY = (8, 0)
MAX_FLASH_HEAD = 256
# What changes the scores and what neither branch below computes.
UNSUPPORTED_ARGUMENTS = ("softcap", "s_aux", "position_bias")


def attend_packed(
    module: torch.nn.Module,  # noqa: ARG001 - transformers hands it on
    query_BHTD: torch.Tensor,
    key_BGTD: torch.Tensor,
    value_BGTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Compute causal attention within each example of a packed row.

    Args:
        module: The attention layer; not read.
        query_BHTD: Queries.
        key_BGTD: Keys.
        value_BGTD: Values.
        attention_mask: Must be None.
        scaling: Factor on the scores; by default D to the power of -1/2.
        dropout: Share of the attention weights that is dropped.
        sliding_window: How many tokens back a token sees, itself included; None: all.
        cu_seq_lens_q: (N + 1,), the bounds of the examples.
        max_length_q: Tokens of the longest example.
        kwargs: What else the layer hands on.

    Returns:
        The output (B, T, H, D), and None for the attention weights.
    """
    assert cu_seq_lens_q is not None, f"{VARLEN} takes packed rows only: see use_attention"
    assert max_length_q is not None, f"{VARLEN} needs the longest example's length"
    assert attention_mask is None, f"{VARLEN} takes no mask"
    unsupported = [name for name in UNSUPPORTED_ARGUMENTS if kwargs.get(name) is not None]
    assert not unsupported, f"{VARLEN} does not compute {unsupported}"
    window = sliding_window if sliding_window and sliding_window < max_length_q else None
    if dropout == 0 and _can_use_flash(query_BHTD, value_BGTD):
        from torch.nn.attention.varlen import varlen_attn  # takes a while, and CPUs never need it

        output_THD = varlen_attn(
            *(
                x.squeeze(0).transpose(0, 1).to(value_BGTD.dtype)  # rotary may leave float32
                for x in (query_BHTD, key_BGTD, value_BGTD)
            ),
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=(window - 1 if window else -1, 0),
            enable_gqa=query_BHTD.size(1) != key_BGTD.size(1),
        )
        return output_THD.unsqueeze(0), None
    lengths = cu_seq_lens_q.diff().tolist()
    outputs = [
        F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=_build_window_mask(q.size(2), window, q.device),
            dropout_p=dropout,
            is_causal=window is None,
            scale=scaling,
            enable_gqa=q.size(1) != k.size(1),
        )
        for q, k, v in zip(
            query_BHTD.split(lengths, dim=2),
            key_BGTD.split(lengths, dim=2),
            value_BGTD.split(lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _can_use_flash(query_BHTD: torch.Tensor, value_BGTD: torch.Tensor) -> bool:
    """Tell whether the flash kernel computes this device, precision and size of a head."""
    size = query_BHTD.size(3)
    return (
        value_BGTD.is_cuda
        and value_BGTD.dtype in FLASH_DTYPES
        and torch.cuda.get_device_capability(value_BGTD.device) >= FLASH_CAPABILITY
        and size == value_BGTD.size(3)
        and size <= MAX_FLASH_HEAD
        and size % 8 == 0
    )


def _build_window_mask(
    length: int, window: int | None, device: torch.device
) -> torch.Tensor | None:
    """Return the causal mask (T, T) in which a token sees `window` tokens, or None without one."""
    if window is None:
        return None
    position_T = torch.arange(length, device=device)
    distance_TT = position_T[:, None] - position_T[None, :]
    return (distance_TT >= 0) & (distance_TT < window)


def _build_no_mask(*_: Any, **__: Any) -> None:
    """Return no mask: the bounds of the examples stand for it."""


AttentionInterface.register(VARLEN, attend_packed)
AttentionMaskInterface.register(VARLEN, _build_no_mask)


def choose_attention(model: PreTrainedModel, configured: str, *, packing: bool) -> str:
    """Return the attention implementation that trains this model, by transformers' name.

    Args:
        model: The base model.
        configured: `auto`, `eager`, `sdpa` or `varlen`.
        packing: Whether a row holds several examples.

    Raises:
        RequestError: The model's own attention cannot do what is configured.
    """
    is_pluggable = getattr(model, "_supports_attention_backend", False)
    reason = _explain_no_varlen(model)
    if packing and not is_pluggable:
        raise RequestError(
            where="training.packing",
            message=f"{type(model).__name__} does not keep the examples of a packed row apart",
            allowed="false for this model",
            hint="set training.packing=false",
        )
    if configured == "varlen" and reason:
        raise RequestError(
            where="model.attn_implementation",
            message=f"varlen is not possible: {reason}",
            allowed="auto, eager, sdpa",
        )
    if configured == "varlen" or (configured == "auto" and packing and not reason):
        return VARLEN
    if configured == "auto":
        return str(model.config._attn_implementation)  # noqa: SLF001 - transformers has no getter
    return configured


def _explain_no_varlen(model: PreTrainedModel) -> str:
    """Return why a model's scores are not computed by `attend_packed`, or an empty string."""
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} has its own attention"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention scores are capped"
    if getattr(config, "attention_chunk_size", None):
        return "its attention is chunked"
    if config.model_type == "gpt_oss":
        return "its attention has sinks"
    return ""


@contextmanager
def use_attention(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Let a model compute attention in one way inside the block, and as before after it.

    Packed rows want `hone_varlen`; generation, with its padding and cache, wants the model's own.

    Args:
        model: The model, with or without an adapter.
        implementation: A name that transformers knows, or `hone_varlen`.
    """
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    configs = {i: c for i, c in configs.items() if hasattr(c, "_attn_implementation")}
    before = {i: c._attn_implementation for i, c in configs.items()}  # noqa: SLF001
    for config in configs.values():
        config._attn_implementation = implementation  # noqa: SLF001 - read anew by each layer
    try:
        yield
    finally:
        for i, config in configs.items():
            config._attn_implementation = before[i]  # noqa: SLF001


def is_varlen(model: PreTrainedModel) -> bool:
    """Tell whether a model computes attention by `attend_packed` at present."""
    return bool(model.config._attn_implementation == VARLEN)  # noqa: SLF001
