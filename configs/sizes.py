"""Shapes of well-known base models, and an estimate of the GPU memory that a preset needs."""

from __future__ import annotations

import json
from dataclasses import dataclass

from configs.paths import resolve_base
from configs.schema import ModelConfig, TrainingConfig

BF16_BYTES = 2
NF4_BYTES = (
    0.516  # 4 bits, and the quantised constants of blocks of 64 weights (nested: 0.127 bits)
)
ADAMW_BYTES = 16  # of a trained weight in float32: itself, its gradient, two moments
BLOCK_BYTES = 48  # per token and hidden unit: activations of one block in its backward pass
HEAD_TOKENS = 512  # trained tokens whose logits exist at a time, with their gradient
CPU_WEIGHTS = 20_000_000  # a base of fewer trains on any CPU in minutes
CONTEXT_BYTES = 2**30  # CUDA's context, libraries and the allocator's slack


@dataclass(frozen=True)
class BaseShape:
    """The sizes of a decoder-only transformer; `kv_size` is key heads x head size."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    kv_size: int
    vocab_size: int
    is_tied: bool = False
    is_gated: bool = True

    @property
    def linear_shapes(self) -> tuple[tuple[int, int], ...]:
        """The (in, out) features of one block's linear layers."""
        hidden, inner = self.hidden_size, self.intermediate_size
        attention = ((hidden, hidden), (hidden, self.kv_size), (hidden, self.kv_size))
        gate = ((hidden, inner),) if self.is_gated else ()
        return (*attention, (hidden, hidden), *gate, (hidden, inner), (inner, hidden))

    @property
    def num_linear(self) -> int:
        """Weights of the linear layers in the blocks."""
        return self.num_hidden_layers * sum(rows * columns for rows, columns in self.linear_shapes)

    @property
    def num_embedding(self) -> int:
        """Weights of the embedding and the head."""
        return self.vocab_size * self.hidden_size * (1 if self.is_tied else 2)

    def count_adapter(self, rank: int) -> int:
        """Return the weights of an adapter on all linear layers."""
        widths = sum(rows + columns for rows, columns in self.linear_shapes)
        return self.num_hidden_layers * rank * widths


# From each model's config.json on the hub.
BASE_SHAPES = {
    "meta-llama/Meta-Llama-3-8B-Instruct": BaseShape(4096, 14336, 32, 1024, 128256),
    "meta-llama/Llama-3.2-3B-Instruct": BaseShape(3072, 8192, 28, 1024, 128256, is_tied=True),
    "meta-llama/Llama-2-7b-hf": BaseShape(4096, 11008, 32, 4096, 32000),
    "meta-llama/Llama-2-13b-hf": BaseShape(5120, 13824, 40, 5120, 32000),
    "meta-llama/Llama-2-70b-hf": BaseShape(8192, 28672, 80, 1024, 32000),
    "mistralai/Mistral-7B-Instruct-v0.3": BaseShape(4096, 14336, 32, 1024, 32768),
    "Qwen/Qwen2.5-0.5B-Instruct": BaseShape(896, 4864, 24, 128, 151936, is_tied=True),
    "openai-community/gpt2": BaseShape(768, 3072, 12, 768, 50257, is_tied=True, is_gated=False),
}


def find_shape(model_name_or_path: str) -> BaseShape | None:
    """Return a base model's shape: of a well-known hub id, or from a local Llama's config.json."""
    location = resolve_base(model_name_or_path)
    if isinstance(location, str):
        return BASE_SHAPES.get(location)
    try:
        config = json.loads((location / "config.json").read_text(encoding="utf-8"))
        heads = config["num_attention_heads"]
        return BaseShape(
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_hidden_layers=config["num_hidden_layers"],
            kv_size=config["hidden_size"] // heads * config.get("num_key_value_heads", heads),
            vocab_size=config["vocab_size"],
            is_tied=config.get("tie_word_embeddings", False),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # another architecture, or no model there: training says which


def estimate_gpu_bytes(model: ModelConfig, training: TrainingConfig) -> int | None:
    """Estimate the least GPU memory for training, with activation checkpointing.

    The sum of: the base's weights (bfloat16; NF4 for `qlora`; float32 with its optimiser for
    `full`), the adapter with its optimiser, one block input per layer and token of a packed row,
    one block's activations, the logits of some hundred tokens, and CUDA's own 1 GiB.

    Returns:
        Bytes; 0 for a base so small that a CPU does; None when the base's shape is not known.
    """
    shape = find_shape(model.model_name_or_path)
    if shape is None:
        return None
    if shape.num_linear + shape.num_embedding < CPU_WEIGHTS:
        return 0
    tokens, hidden = training.max_length, shape.hidden_size
    kept = shape.num_hidden_layers * tokens * hidden * BF16_BYTES
    logits = 2 * 4 * HEAD_TOKENS * shape.vocab_size
    activations = kept + BLOCK_BYTES * tokens * hidden + logits
    return round(count_weight_bytes(model, shape) + activations + CONTEXT_BYTES)


def count_weight_bytes(model: ModelConfig, shape: BaseShape) -> float:
    """Return the bytes of the base, of what is trained, and of its optimiser."""
    if model.method == "full":
        return ADAMW_BYTES * (shape.num_linear + shape.num_embedding)
    linear_bytes = NF4_BYTES if model.method == "qlora" else BF16_BYTES
    base = linear_bytes * shape.num_linear + BF16_BYTES * shape.num_embedding
    return base + ADAMW_BYTES * shape.count_adapter(model.lora_r)
