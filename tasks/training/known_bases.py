"""The sizes of well-known base models, to estimate memory before anything is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.records.writing import read_json


def _describe_llama(
    hidden: int, intermediate: int, layers: int, heads: int, key_heads: int, vocabulary: int,
    *, is_tied: bool = False,
) -> dict[str, Any]:  # fmt: skip
    return {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": vocabulary,
        "tie_word_embeddings": is_tied,
    }


# From each model's config.json on the hub.
KNOWN_BASES: dict[str, dict[str, Any]] = {
    "meta-llama/Meta-Llama-3-8B-Instruct": _describe_llama(4096, 14336, 32, 32, 8, 128256),
    "meta-llama/Llama-3.2-3B-Instruct": _describe_llama(
        3072, 8192, 28, 24, 8, 128256, is_tied=True
    ),
    "meta-llama/Llama-2-7b-hf": _describe_llama(4096, 11008, 32, 32, 32, 32000),
    "meta-llama/Llama-2-13b-hf": _describe_llama(5120, 13824, 40, 40, 40, 32000),
    "meta-llama/Llama-2-70b-hf": _describe_llama(8192, 28672, 80, 64, 8, 32000),
    "mistralai/Mistral-7B-Instruct-v0.3": _describe_llama(4096, 14336, 32, 32, 8, 32768),
    "Qwen/Qwen2.5-0.5B-Instruct": {
        **_describe_llama(896, 4864, 24, 14, 2, 151936, is_tied=True),
        "model_type": "qwen2",
    },
    "openai-community/gpt2": {
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "vocab_size": 50257,
    },
}


def find_model_config(name: str, folder: Path) -> Mapping[str, Any] | None:
    """Return what config.json says of a base model, or None where it is not known here.

    Args:
        name: The base model as configured.
        folder: Where it lies when it is a local one.
    """
    file = folder / "config.json"
    if file.is_file():
        found: Mapping[str, Any] = read_json(file)
        return found
    return KNOWN_BASES.get(name)
