"""The peak memory of a training, predicted from a model's config.json without torch.

Frozen weights take their bytes; 4-bit layers half a byte and their quantisation constants. What is
trained is float32, with a gradient of 4 bytes and the optimiser's state, and in 16 bits a copy that
autocast makes. To that come the activations (see activations.py), the logits, and workspaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.activations import (
    Computation,
    count_backward_bytes,
    count_border_bytes,
    count_layer_bytes,
    count_outer_bytes,
)
from tasks.training.optimizers import find_optimizer_cost
from tasks.training.shapes import (
    Shape,
    count_trainable,
    count_whole_modules,
    is_head_trained,
    read_shape,
)

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# 4 bits and, for each block of 64 weights, a float32 constant, or an 8-bit one with nested
# quantisation, whose own constants take 4 bytes for 256 of them.
BYTES_4BIT = 0.5 + 4 / 64
BYTES_4BIT_NESTED = 0.5 + (1 + 4 / 256) / 64
BYTES_8BIT = 1.0  # and a float32 constant for each output, which weighs nothing
FLOAT32 = 4
CHUNK_BYTES = 1 << 28  # float32 logits of one piece, as in loss.py
LOSS_COPIES = 3  # log-probabilities, their gradient and that of the logits, in float32
BORDERS_ON_DEVICE = 2
CUDA_WORKSPACE_BYTES = 1 << 26  # of the matrix products
SPARE_FRACTION = 0.1  # of the device: its context and what lies between blocks


@dataclass(frozen=True)
class RowLoad:
    """What of a training decides its memory.

    Attributes:
        row_tokens: Tokens of the longest row.
        trained_tokens: Most trained tokens of a row.
        num_checkpointed: Blocks, from the first, that are computed again in the backward pass.
        accumulates: Whether gradients of earlier rows lie there while a row is computed.
    """

    row_tokens: int
    trained_tokens: int
    num_checkpointed: int = 0
    accumulates: bool = True


@dataclass(frozen=True)
class MemoryPlan:
    """What a training needs at its peak on one device, in bytes, and how many parameters it has.

    Attributes:
        weights_bytes: Weights that are not trained.
        trained_weights_bytes: Trained parameters, and their copies in 16 bits.
        gradient_bytes: Their gradients.
        optimizer_bytes: The optimiser's state.
        activations_bytes: What the forward pass keeps for the backward pass, and its temporaries.
        logits_bytes: Logits of a row, their losses and gradients, as far as they are at the peak.
        workspace_bytes: Of matrix products, of dequantised layers, of the optimiser's step.
        num_parameters: Of the base model and the adapter.
        num_trainable_parameters: Of the adapter, or of the model.
    """

    weights_bytes: int
    trained_weights_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    logits_bytes: int
    workspace_bytes: int
    num_parameters: int
    num_trainable_parameters: int

    @property
    def parts(self) -> dict[str, int]:
        """Bytes of each part, under the name that people read."""
        return {
            "frozen weights": self.weights_bytes,
            "trained weights": self.trained_weights_bytes,
            "gradients": self.gradient_bytes,
            "optimiser": self.optimizer_bytes,
            "activations": self.activations_bytes,
            "logits": self.logits_bytes,
            "workspace": self.workspace_bytes,
        }

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return sum(self.parts.values())

    def fits(self, memory_bytes: int) -> bool:
        """Tell whether memory of this size holds it, with a tenth to spare."""
        return self.total_bytes <= (1 - SPARE_FRACTION) * memory_bytes


def estimate_memory(
    model_config: Mapping[str, Any],
    model: ModelConfig,
    training: TrainingConfig,
    *,
    dtype: str = "bfloat16",
    activation_checkpointing: bool = False,
) -> MemoryPlan:
    """Predict the memory of full rows of `training.max_length` on a GPU, every token trained on.

    Llama-3-8B has 6.98e9 weights in linear layers and 1.05e9 in embedding and head. LoRA of rank
    16 on all linear layers adds 16 x 81,920 x 32 = 41.9e6, in bfloat16 at 2,048 tokens a row:

    >>> llama = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
    ...     num_attention_heads=32, num_key_value_heads=8, vocab_size=128256)
    >>> plan = estimate_memory(llama, ModelConfig(), TrainingConfig(max_length=2048))
    >>> plan.num_trainable_parameters
    41943040
    >>> {name: round(size / 1e9, 1) for name, size in plan.parts.items()}
    {'frozen weights': 16.1, 'trained weights': 0.3, 'gradients': 0.2, 'optimiser': 0.3, \
'activations': 12.1, 'logits': 1.9, 'workspace': 0.1}

    Args:
        model_config: The content of the base model's config.json.
        model: Method, rank and targets.
        training: Row length and optimiser.
        dtype: Precision of the base weights and of the matrix products.
        activation_checkpointing: Whether every block is computed again in the backward pass.

    Raises:
        RequestError: The config names no sizes of a decoder.
    """
    shape = read_shape(model_config)
    length = training.max_length
    load = RowLoad(length, length, shape.num_layers if activation_checkpointing else 0)
    return predict_memory(shape, model, training, load, Computation(BYTES[dtype]))


def predict_memory(
    shape: Shape, model: ModelConfig, training: TrainingConfig, load: RowLoad, how: Computation
) -> MemoryPlan:
    """Predict the peak memory of a training on one device.

    The peak is where the backward pass begins, all activations kept and the logits there, or in
    its first block, the logits gone and that block computed again or its gradients there, or in
    the optimiser's step, with neither.

    Args:
        shape: The base model's sizes.
        model: Method, rank and targets.
        training: Optimiser, and what of the loss is computed.
        load: Rows and checkpointing.
        how: Precision, device and attention.
    """
    trainable = count_trainable(shape, model)
    optimizer = find_optimizer_cost(training.optim)
    copies = _count_copies(shape, model, trainable, how)
    activations = _count_kept(shape, model, training, load, how)
    logits = _count_logits(shape, training, load, how)
    in_block = _count_in_block(shape, model, training, load, how)
    # A block that is computed again makes its copies again; others hold theirs from the start.
    copies_in_block = round(copies * (1 - load.num_checkpointed / shape.num_layers))
    if in_block + copies_in_block > logits + copies:
        activations, logits, copies = activations + in_block, 0, copies_in_block
    gradients = FLOAT32 * trainable
    step_bytes = round(optimizer.step_bytes * trainable)
    if not load.accumulates:  # gradients come to be while activations go
        gradients = max(0, gradients - activations - logits)
    workspace = _count_workspace(shape, model, how)
    workspace += max(0, step_bytes - activations - logits - copies)
    return MemoryPlan(
        weights_bytes=_count_frozen(shape, model, how),
        trained_weights_bytes=FLOAT32 * trainable + copies,
        gradient_bytes=gradients,
        # Paged, it gives way to everything else.
        optimizer_bytes=0 if optimizer.is_paged else round(optimizer.state_bytes * trainable),
        activations_bytes=activations,
        logits_bytes=logits,
        workspace_bytes=workspace,
        num_parameters=shape.num_parameters + (0 if model.method == "full" else trainable),
        num_trainable_parameters=trainable,
    )


def _count_frozen(shape: Shape, model: ModelConfig, how: Computation) -> int:
    """Return the bytes of the weights that are not trained."""
    if model.method == "full":
        return 0
    linear_bytes: float = how.width
    if model.method == "qlora" and model.load_in_8bit:
        linear_bytes = BYTES_8BIT
    elif model.method == "qlora":
        linear_bytes = BYTES_4BIT_NESTED if model.use_bnb_nested_quant else BYTES_4BIT
    rest = shape.num_parameters - shape.num_linear_parameters
    return round(shape.num_linear_parameters * linear_bytes + rest * how.width)


def _count_copies(shape: Shape, model: ModelConfig, trainable: int, how: Computation) -> int:
    """Return the bytes of the 16-bit copies that autocast makes of trained matrices."""
    if how.width == FLOAT32:
        return 0
    if model.method == "full":
        return how.width * (shape.num_linear_parameters + shape.num_head_parameters)
    copied = trainable - count_whole_modules(shape, model)
    head = shape.num_head_parameters if is_head_trained(shape, model) else 0
    return how.width * (copied + head)


def _count_kept(
    shape: Shape, model: ModelConfig, training: TrainingConfig, load: RowLoad, how: Computation
) -> int:
    """Return what lies there when the backward pass begins, without the logits."""
    border = count_border_bytes(shape, model, how) * load.row_tokens
    layer = count_layer_bytes(shape, model, training, how, load.row_tokens)
    outer = count_outer_bytes(shape, model, how, load.row_tokens, load.trained_tokens)
    whole = shape.num_layers - load.num_checkpointed
    num_borders = load.num_checkpointed
    if training.activation_offloading:  # of the block that is computed, and of the next one
        num_borders = min(num_borders, BORDERS_ON_DEVICE)
    return num_borders * border + whole * layer + outer


def _count_in_block(
    shape: Shape, model: ModelConfig, training: TrainingConfig, load: RowLoad, how: Computation
) -> int:
    """Return what comes to be in the last block's backward pass."""
    gradients = count_backward_bytes(shape, how, load.row_tokens)
    if load.num_checkpointed < shape.num_layers:
        return gradients
    return gradients + count_layer_bytes(shape, model, training, how, load.row_tokens)


def _count_logits(shape: Shape, training: TrainingConfig, load: RowLoad, how: Computation) -> int:
    """Return the bytes of a row's logits, of their losses and of their gradients."""
    tokens = load.trained_tokens if training.trained_logits_only else load.row_tokens
    numbers = tokens * shape.vocabulary
    in_loss = load.trained_tokens * shape.vocabulary
    if not training.chunked_loss or FLOAT32 * in_loss <= CHUNK_BYTES:
        whole = numbers * how.width if tokens > load.trained_tokens else 0
        return whole + LOSS_COPIES * FLOAT32 * in_loss
    return 2 * numbers * how.width + LOSS_COPIES * CHUNK_BYTES


def _count_workspace(shape: Shape, model: ModelConfig, how: Computation) -> int:
    """Return what products need beside their results; quantised layers are unpacked one by one."""
    largest = max(linear.num_weights for linear in shape.linear_layers)
    unpacked = largest * how.width if model.method == "qlora" else 0
    return unpacked + (CUDA_WORKSPACE_BYTES if how.is_cuda else 0)
