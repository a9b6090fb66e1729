"""The memory that a training needs, estimated from a model's config.json without torch.

Formulas, with h hidden size, i intermediate size, k key/value size (heads x head size), L layers,
V vocabulary, T tokens of a row, w bytes of the computing precision:

- weights: parameters x bytes; 4-bit layers take 0.5 bytes and their quantisation constants.
- trained parameters: 4 bytes each for the weight, the gradient and both Adam moments.
- activations kept for the backward pass: T L (10 h + 2 k + 4 i) w. Of h: 6 in two norms (one
  copy in float32 each), inputs of the attention, its output and the MLP, and the queries; of i:
  gate, up, their product and the activation. With activation checkpointing: T L h w and one layer.
- logits: T V (w + 4), at most: only positions before trained tokens have any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from configs.errors import RequestError
from configs.schema import ModelConfig, TrainingConfig

BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
# 4 bits and, for each block of 64 weights, a float32 constant, or an 8-bit one with nested
# quantisation, whose own constants take 4 bytes for 256 of them.
BYTES_4BIT = 0.5 + 4 / 64
BYTES_4BIT_NESTED = 0.5 + (1 + 4 / 256) / 64
TRAINED_BYTES = 16
CHUNK_BYTES = 1 << 28
SPARE_FRACTION = 0.1  # of the device: its context, fragments, workspaces


@dataclass(frozen=True)
class MemoryPlan:
    """What a training needs on one device, in bytes, and how many parameters it has.

    Attributes:
        weights_bytes: Weights that are not trained.
        trained_bytes: Trained parameters with their gradients and optimiser state.
        activations_bytes: What the forward pass keeps for the backward pass, for one row.
        logits_bytes: Logits of one row and their gradient, when every token is trained on.
        num_parameters: Of the base model and the adapter.
        num_trainable_parameters: Of the adapter, or of the model.
    """

    weights_bytes: int
    trained_bytes: int
    activations_bytes: int
    logits_bytes: int
    num_parameters: int
    num_trainable_parameters: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.trained_bytes + self.activations_bytes + self.logits_bytes

    def fits(self, memory_bytes: int) -> bool:
        """Tell whether a device of this size holds it, with a tenth to spare."""
        return self.total_bytes <= (1 - SPARE_FRACTION) * memory_bytes


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder, whatever its config calls them."""

    hidden: int
    intermediate: int
    queries: int
    keys: int
    num_layers: int
    vocabulary: int
    num_positions: int
    is_tied: bool
    is_gated: bool

    @property
    def linear_layers(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the linear layers of one block: attention, then MLP."""
        attention = [(self.hidden, self.queries), *[(self.hidden, self.keys)] * 2]
        up = [(self.hidden, self.intermediate)] * (2 if self.is_gated else 1)
        out = [(self.queries, self.hidden), (self.intermediate, self.hidden)]
        return (*attention, *up, *out)

    @property
    def num_linear_parameters(self) -> int:
        """Weights of the linear layers of all blocks."""
        return self.num_layers * sum(inputs * outputs for inputs, outputs in self.linear_layers)

    @property
    def num_embedding_parameters(self) -> int:
        """Weights of the embedding and of the head that is not tied to it."""
        positions = 0 if self.is_gated else self.num_positions
        return self.hidden * (self.vocabulary * (1 if self.is_tied else 2) + positions)


def estimate_memory(
    model_config: Mapping[str, Any],
    model: ModelConfig,
    training: TrainingConfig,
    *,
    dtype: str = "bfloat16",
    activation_checkpointing: bool = False,
) -> MemoryPlan:
    """Estimate the memory that a training needs on one device.

    Llama-3-8B has 6.98e9 weights in linear layers and 1.05e9 in embedding and head. LoRA of rank
    16 on all linear layers adds 16 x 81,920 x 32 = 41.9e6, in bfloat16 at 2,048 tokens a row:

    >>> llama = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
    ...     num_attention_heads=32, num_key_value_heads=8, vocab_size=128256)
    >>> plan = estimate_memory(llama, ModelConfig(), TrainingConfig(max_length=2048))
    >>> plan.num_trainable_parameters
    41943040
    >>> [round(size / 1e9, 1) for size in (plan.weights_bytes, plan.trained_bytes,
    ...     plan.activations_bytes, plan.logits_bytes, plan.total_bytes)]
    [16.1, 0.7, 13.2, 1.3, 31.2]

    Args:
        model_config: The content of the base model's config.json.
        model: Method, rank and targets.
        training: Row length.
        dtype: Precision of the base weights and of the matrix products.
        activation_checkpointing: Whether activations are computed again in the backward pass.

    Raises:
        RequestError: The config names no sizes of a decoder.
    """
    shape = read_shape(model_config)
    width = BYTES[dtype]
    norms = shape.hidden * (2 * shape.num_layers + 1)
    num_other = shape.num_embedding_parameters + norms
    num_base = shape.num_linear_parameters + num_other
    if model.method == "full":
        num_trainable, frozen_bytes = num_base, 0.0
    else:
        num_trainable = _count_adapter(shape, model)
        linear_bytes = width
        if model.method == "qlora":
            linear_bytes = BYTES_4BIT_NESTED if model.use_bnb_nested_quant else BYTES_4BIT
        frozen_bytes = shape.num_linear_parameters * linear_bytes + num_other * width
    layer_elements = 10 * shape.hidden + 2 * shape.keys + 4 * shape.intermediate
    layers = shape.num_layers
    kept = shape.hidden * layers + layer_elements if activation_checkpointing else 0
    kept = kept or layer_elements * layers
    logits_bytes = training.max_length * shape.vocabulary
    return MemoryPlan(
        weights_bytes=round(frozen_bytes),
        trained_bytes=num_trainable * TRAINED_BYTES,
        activations_bytes=round(training.max_length * kept * width),
        logits_bytes=round(logits_bytes * width * 2 + min(CHUNK_BYTES, logits_bytes * 4)),
        num_parameters=num_base + (0 if model.method == "full" else num_trainable),
        num_trainable_parameters=num_trainable,
    )


def read_shape(model_config: Mapping[str, Any]) -> Shape:
    """Return a decoder's sizes from its config.json, in Llama's words or in GPT-2's.

    Raises:
        RequestError: A size is missing.
    """
    config = {**model_config, **model_config.get("text_config", {})}
    is_gpt2 = "n_embd" in config
    try:
        if is_gpt2:
            hidden, heads, layers = config["n_embd"], config["n_head"], config["n_layer"]
        else:
            hidden, heads = config["hidden_size"], config["num_attention_heads"]
            layers = config["num_hidden_layers"]
        vocabulary = config["vocab_size"]
    except KeyError as err:
        raise RequestError(
            where="config.json",
            message=f"{err} is missing: the model's memory cannot be estimated",
            allowed="the config.json of a decoder",
        ) from err
    head_size = config.get("head_dim") or hidden // heads
    return Shape(
        hidden=hidden,
        intermediate=config.get("intermediate_size") or config.get("n_inner") or 4 * hidden,
        queries=heads * head_size,
        keys=(config.get("num_key_value_heads") or heads) * head_size,
        num_layers=layers,
        vocabulary=vocabulary,
        num_positions=config.get("n_positions", 0) if is_gpt2 else 0,
        is_tied=bool(config.get("tie_word_embeddings", is_gpt2)),
        is_gated=not is_gpt2,
    )


def _count_adapter(shape: Shape, model: ModelConfig) -> int:
    """Return the parameters of an adapter: r (inputs + outputs) for each linear layer it is on."""
    names = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "o_proj", "down_proj")
    targets = model.lora_target_modules
    chosen = shape.linear_layers
    if not isinstance(targets, str) and shape.is_gated:
        pairs = zip(names, shape.linear_layers, strict=True)
        chosen = tuple(layer for name, layer in pairs if name in targets)
    lora = shape.num_layers * sum(model.lora_r * (inputs + outputs) for inputs, outputs in chosen)
    whole = {"embed_tokens", "wte", "lm_head"} & set(model.lora_modules_to_save)
    num_copies = 1 if shape.is_tied and whole else len(whole)
    return lora + num_copies * shape.vocabulary * shape.hidden
