"""Merging: an adapter becomes part of the weights that it was trained on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from configs.schema import ModelConfig
from tasks.training.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, load_adapter
from tasks.training.engine import Weights
from tasks.training.models import DTYPES, load_base
from tasks.training.weights import write_model

LOG = logging.getLogger("hone")


def merge_trained(
    folder: Path,
    base_location: Path | str,
    *,
    method: str,
    dtype: str,
    device: str,
    model: ModelConfig | None = None,
    revision: str | None = None,
) -> Any:
    """Return a trained adapter and its base as one model without an adapter, in eval mode.

    An adapter of `qlora` has learnt beside 4-bit weights, so those are what it is merged into,
    dequantised: merged into the original weights, or into 4-bit ones, it is another model.

    Args:
        folder: The adapter.
        base_location: The base that it was trained on.
        method: `lora` or `qlora`.
        dtype: Precision of the merged weights: the base's in training.
        device: Where it is merged.
        model: How the base was quantised; only read with `qlora`.
        revision: The commit of a hub base model.

    Raises:
        RequestError: The adapter does not fit the base.
        ValueError: The merged weights are not finite.
    """
    base = load_base(
        base_location, dtype=dtype, method=method, model=model, device=device, revision=revision
    )
    if method == "qlora":
        base = dequantize_base(base, dtype)
    merged = load_adapter(base, folder).merge_and_unload(safe_merge=True)
    return merged.eval()


def dequantize_base(base: Any, dtype: str) -> Any:
    """Return a quantised model with the values of its weights in `dtype`, no longer quantised."""
    whole = base.dequantize(DTYPES[dtype])
    whole.config.__dict__.pop("quantization_config", None)
    whole.is_quantized = False
    whole.hf_quantizer = None
    return whole.to(DTYPES[dtype])


def write_merged(merged: Any, adapter: Path, folder: Path) -> int:
    """Write a merged model with the tokenizer, template and generation config of its adapter.

    Args:
        merged: From `merge_trained`.
        adapter: The adapter's folder.
        folder: Where to; what is there is replaced.

    Returns:
        The size of the weights in bytes.
    """
    from transformers import GenerationConfig

    def write(partial: Path) -> None:
        for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG):
            (partial / name).unlink()
        merged.save_pretrained(str(partial))

    if (adapter / "generation_config.json").is_file():
        merged.generation_config = GenerationConfig.from_pretrained(str(adapter))
    return write_model(merged, Weights(write=write, read=_read_never), adapter, folder)


def _read_never(folder: Path) -> None:
    raise AssertionError(f"{folder}: a merged model is written once, and read by its users")
