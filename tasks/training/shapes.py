"""The sizes of a decoder, read from its config.json without torch, and where its weights are.

Legend: h hidden size, i intermediate size, q query size (heads x head size), k key/value size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from configs.errors import RequestError
from configs.schema import ModelConfig

HEAD_NAMES = frozenset({"embed_tokens", "wte", "lm_head"})
EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts")
BIASED_QUERIES = frozenset({"qwen2"})  # their config.json does not say so


@dataclass(frozen=True)
class Linear:
    """A linear layer of a block, under the name that targets of an adapter go by."""

    name: str
    inputs: int
    outputs: int

    @property
    def num_weights(self) -> int:
        """Weights without the bias."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder, whatever its config calls them."""

    hidden: int
    intermediate: int
    num_heads: int
    queries: int
    keys: int
    num_layers: int
    vocabulary: int
    num_positions: int
    is_tied: bool
    is_gated: bool
    has_query_biases: bool

    @property
    def linear_layers(self) -> tuple[Linear, ...]:
        """The linear layers of one block: attention, then MLP."""
        h, i, q, k = self.hidden, self.intermediate, self.queries, self.keys
        sizes: tuple[tuple[str, int, int], ...]
        if self.is_gated:
            sizes = (
                ("q_proj", h, q), ("k_proj", h, k), ("v_proj", h, k), ("o_proj", q, h),
                ("gate_proj", h, i), ("up_proj", h, i), ("down_proj", i, h),
            )  # fmt: skip
        else:
            sizes = (("c_attn", h, q + 2 * k), ("c_proj", q, h), ("c_fc", h, i), ("c_proj", i, h))
        return tuple(Linear(*size) for size in sizes)

    @property
    def num_linear_parameters(self) -> int:
        """Weights of the linear layers of all blocks."""
        return self.num_layers * sum(linear.num_weights for linear in self.linear_layers)

    @property
    def num_head_parameters(self) -> int:
        """Weights of the output head, tied to the embedding or not."""
        return self.hidden * self.vocabulary

    @property
    def num_embedding_parameters(self) -> int:
        """Weights of the embeddings and of the head that is not tied to them."""
        return self.num_head_parameters * (1 if self.is_tied else 2) + (
            self.hidden * self.num_positions
        )

    @property
    def num_small_parameters(self) -> int:
        """Norms and biases."""
        norms = self.hidden * (2 * self.num_layers + 1)
        if not self.is_gated:  # a norm with a bias, and a bias in each linear layer
            return 2 * norms + self.num_layers * sum(x.outputs for x in self.linear_layers)
        biases = self.queries + 2 * self.keys if self.has_query_biases else 0
        return norms + self.num_layers * biases

    @property
    def num_parameters(self) -> int:
        """All of the model."""
        return (
            self.num_linear_parameters + self.num_embedding_parameters + self.num_small_parameters
        )


def read_shape(model_config: Mapping[str, Any]) -> Shape:
    """Return a decoder's sizes from its config.json, in Llama's words or in GPT-2's.

    Raises:
        RequestError: A size is missing, or the model is a mixture of experts.
    """
    config = {**model_config, **(model_config.get("text_config") or {})}
    _refuse_experts(config)
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
    is_biased = config.get("attention_bias") or config.get("model_type") in BIASED_QUERIES
    return Shape(
        hidden=hidden,
        intermediate=config.get("intermediate_size") or config.get("n_inner") or 4 * hidden,
        num_heads=heads,
        queries=heads * head_size,
        keys=(config.get("num_key_value_heads") or heads) * head_size,
        num_layers=layers,
        vocabulary=vocabulary,
        num_positions=config.get("n_positions", 0) if is_gpt2 else 0,
        is_tied=bool(config.get("tie_word_embeddings", is_gpt2)),
        is_gated=not is_gpt2,
        has_query_biases=bool(is_biased),
    )


def find_targets(shape: Shape, model: ModelConfig) -> tuple[Linear, ...]:
    """Return the linear layers of one block that an adapter is put on.

    A pattern for names in `lora_target_modules` is taken for all of them, the upper bound.
    """
    targets = model.lora_target_modules
    if isinstance(targets, str):
        return shape.linear_layers
    return tuple(linear for linear in shape.linear_layers if linear.name in targets)


def count_adapted_layers(shape: Shape, model: ModelConfig) -> int:
    """Return how many blocks get an adapter."""
    chosen = model.lora_layers_to_transform
    return shape.num_layers if chosen is None else len({n for n in chosen if n < shape.num_layers})


def count_lora(shape: Shape, model: ModelConfig) -> int:
    """Return the parameters of the LoRA matrices: r (inputs + outputs) for each linear layer."""
    return count_adapted_layers(shape, model) * sum(
        model.lora_r * (linear.inputs + linear.outputs) + (linear.outputs if model.use_dora else 0)
        for linear in find_targets(shape, model)
    )


def count_whole_modules(shape: Shape, model: ModelConfig) -> int:
    """Return the parameters of embeddings and heads that are trained in full beside an adapter."""
    whole = HEAD_NAMES & set(model.lora_modules_to_save)
    num_copies = 1 if shape.is_tied and whole else len(whole)
    return num_copies * shape.num_head_parameters


def count_trainable(shape: Shape, model: ModelConfig) -> int:
    """Return the parameters that are trained."""
    if model.method == "full":
        return shape.num_parameters
    return count_lora(shape, model) + count_whole_modules(shape, model)


def is_head_trained(shape: Shape, model: ModelConfig) -> bool:
    """Tell whether the output head gets gradients of its own."""
    saved = set(model.lora_modules_to_save)
    return model.method == "full" or bool(saved & (HEAD_NAMES if shape.is_tied else {"lm_head"}))


def _refuse_experts(config: Mapping[str, Any]) -> None:
    for key in EXPERT_KEYS:
        if (config.get(key) or 1) > 1:
            raise RequestError(
                where="config.json",
                message=f"{key} is {config[key]}: the memory and the work of a mixture of experts "
                "depend on what each token chooses, and are not estimated",
            )
