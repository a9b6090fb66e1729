"""What a forward pass keeps for the backward pass, tensor by tensor, in bytes.

Legend: h hidden size, i intermediate size, q query size, k key/value size, T tokens of a row.
The terms were read off autograd's saved tensors and are held to them by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.shapes import Linear, Shape, find_targets, is_head_trained

Attention = Literal["varlen", "sdpa", "eager"]
FLOAT32 = 4
STATISTICS = 4  # a norm's mean or inverse deviation, and a logarithm of the attention, per token
INDEX = 8


@dataclass(frozen=True)
class Computation:
    """How a model computes, as far as it decides what is kept.

    Attributes:
        width: Bytes of a number in the matrix products.
        is_cuda: Whether it is a GPU, which has flash attention in 16 bits.
        attention: `varlen` keeps no scores; `sdpa` a mask of T x T where rows are packed; `eager`
            the scores of each head.
        is_packed: Whether a row may hold several examples.
    """

    width: int
    is_cuda: bool = True
    attention: Attention = "varlen"
    is_packed: bool = True

    @property
    def shares_output(self) -> bool:
        """Whether the output that attention keeps is what the next layer reads, not a copy."""
        is_flash = self.is_cuda and self.width < FLOAT32
        return self.attention == "sdpa" or (self.attention == "varlen" and is_flash)


def count_layer_bytes(
    shape: Shape, model: ModelConfig, training: TrainingConfig, how: Computation, row_tokens: int
) -> int:
    """Return what one block keeps of a row.

    Args:
        shape: The model's sizes.
        model: Method, targets, rank and dropout.
        training: Whether adapters cast their inputs.
        how: Precision and attention.
        row_tokens: Tokens of the row.
    """
    per_token = (
        _count_norms(shape, model, how)
        + _count_inputs(shape, model, training, how)
        + _count_attention(shape, how)
        + (3 if shape.is_gated else 4) * shape.intermediate * how.width
    )
    scores = _count_scores(shape, how, is_full=model.method == "full")
    return row_tokens * per_token + row_tokens**2 * scores


def count_border_bytes(shape: Shape, model: ModelConfig, how: Computation) -> int:
    """Return what a checkpointed block keeps of a token: its input."""
    return shape.hidden * _find_residual_width(model, how)


def count_outer_bytes(
    shape: Shape, model: ModelConfig, how: Computation, row_tokens: int, trained_tokens: int
) -> int:
    """Return what is kept of a row outside the blocks and without the logits.

    With an adapter the first norm keeps nothing, because nothing before it is trained: it stands
    for the last one.
    """
    per_token = 0
    if shape.is_gated:  # sines and cosines
        per_token += 2 * shape.queries // shape.num_heads * _find_residual_width(model, how)
    if model.method == "full":
        per_token += _count_norms(shape, model, how) // 2 + INDEX
    head_input = shape.hidden * how.width if is_head_trained(shape, model) else 0
    return row_tokens * per_token + trained_tokens * (head_input + 2 * INDEX)


def count_backward_bytes(shape: Shape, how: Computation, row_tokens: int) -> int:
    """Return the gradients that a block's backward pass holds beside what was kept of a row."""
    return row_tokens * 2 * (shape.intermediate + shape.hidden) * how.width


def _find_residual_width(model: ModelConfig, how: Computation) -> int:
    """Return the bytes of a number between blocks: weights trained in full are float32."""
    return FLOAT32 if model.method == "full" else how.width


def _count_norms(shape: Shape, model: ModelConfig, how: Computation) -> int:
    """Return what the two norms of a block keep of a token."""
    if shape.is_gated:  # in float32; a trained weight needs the normed input too
        num_copies = 2 if model.method == "full" else 1
        return 2 * (num_copies * shape.hidden * FLOAT32 + STATISTICS)
    width = FLOAT32 if how.is_cuda else _find_residual_width(model, how)
    return 2 * (shape.hidden * width + 2 * STATISTICS)


def _count_inputs(
    shape: Shape, model: ModelConfig, training: TrainingConfig, how: Computation
) -> int:
    """Return what linear layers keep of a token: inputs of trained matrices, and adapters'."""
    is_full = model.method == "full"
    layers = shape.linear_layers if is_full else find_targets(shape, model)
    if is_full:
        return _sum_inputs(shape, layers, how, apart=how.width < FLOAT32) * how.width
    adapters = model.lora_r * len(layers) * how.width
    if model.lora_dropout:  # each adapter drops for itself; CPUs keep the mask as numbers
        mask_width = 1 if how.is_cuda else how.width
        return adapters + sum(layer.inputs for layer in layers) * (how.width + mask_width)
    apart = training.cast_adapter_inputs and how.width < FLOAT32
    return adapters + _sum_inputs(shape, layers, how, apart=apart) * how.width


def _sum_inputs(shape: Shape, layers: tuple[Linear, ...], how: Computation, *, apart: bool) -> int:
    """Return the numbers that layers read of a token.

    Args:
        shape: The model's sizes.
        layers: Those that keep their input.
        how: Flash attention keeps its output itself.
        apart: Whether a cast makes a copy for each layer, instead of one for all that share it.
    """
    sources = [(_find_source(shape, layer), layer.inputs) for layer in layers]
    if how.shares_output:
        sources = [source for source in sources if source[0] != "attention"]
    return sum(size for _, size in (sources if apart else set(sources)))


def _find_source(shape: Shape, layer: Linear) -> str:
    """Return where a layer's input comes from."""
    if layer.name in {"o_proj", "down_proj"}:
        return "attention" if layer.name == "o_proj" else "mlp"
    if layer.name == "c_proj":
        return "attention" if layer.inputs == shape.queries else "mlp"
    return "first norm" if layer.name in {"q_proj", "k_proj", "v_proj", "c_attn"} else "second norm"


def _count_attention(shape: Shape, how: Computation) -> int:
    """Return what attention keeps of a token besides scores: queries, keys, values, outputs."""
    q, k = shape.queries, shape.keys
    statistics = STATISTICS * shape.num_heads
    if how.attention == "varlen":
        return (2 * q + 2 * k) * how.width + statistics
    # Keys and values are repeated for their queries.
    return 3 * q * how.width if how.attention == "eager" else 4 * q * how.width + statistics


def _count_scores(shape: Shape, how: Computation, *, is_full: bool) -> int:
    """Return what attention keeps of a pair of tokens."""
    if how.attention == "varlen" or (how.attention == "sdpa" and not how.is_packed):
        return 0
    if how.attention == "sdpa":
        return how.width  # the mask, as numbers that are added
    is_cast = how.width < FLOAT32 and (shape.is_gated or is_full)  # the softmax is in float32
    return shape.num_heads * (how.width + (FLOAT32 if is_cast else 0))
