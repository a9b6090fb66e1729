"""What a block keeps is predicted to the byte, for three families, both methods, all attentions."""

import itertools
from typing import Any

import pytest

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.activations import Computation, count_border_bytes, count_layer_bytes
from tasks.training.shapes import count_lora, read_shape
from tests.tasks.training.measuring import (
    TOKENS,
    build_model,
    count_saved_bytes,
    make_config,
    make_row,
)

pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # peft, of GPT-2's layers
LORA, FULL = ModelConfig(lora_r=8), ModelConfig(method="full")
WIDTHS = {"float32": 4, "bfloat16": 2}


def measure_block(
    family: str, model: ModelConfig, dtype: str, attention: str = "varlen", **kwargs: Any
) -> int:
    """Return what one more block keeps."""
    first, second = (
        count_saved_bytes(
            build_model(make_config(family, layers=layers), model, dtype, **kwargs),
            make_row(),
            dtype,
            attention,
        )
        for layers in (2, 3)
    )
    return second - first


def count_copies(family: str, model: ModelConfig, dtype: str) -> int:
    """Return the bytes of a block's 16-bit copies of trained weights, which are kept too."""
    shape = read_shape(make_config(family, layers=1).to_dict())
    if dtype == "float32":
        return 0
    trained = shape.num_linear_parameters if model.method == "full" else count_lora(shape, model)
    return 2 * trained


@pytest.mark.parametrize(
    ("family", "model", "dtype", "attention"),
    [
        *itertools.product(("llama", "qwen2", "gpt2"), (LORA, FULL), WIDTHS, ("varlen",)),
        *itertools.product(("llama",), (LORA,), WIDTHS, ("sdpa", "eager")),
        *itertools.product(("gpt2",), (FULL,), ("bfloat16",), ("sdpa", "eager")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.method,
)
def test_a_block_keeps_what_is_predicted(
    family: str, model: ModelConfig, dtype: str, attention: Any
) -> None:
    shape = read_shape(make_config(family).to_dict())
    how = Computation(WIDTHS[dtype], is_cuda=False, attention=attention)
    predicted = count_layer_bytes(shape, model, TrainingConfig(), how, TOKENS)
    measured = measure_block(family, model, dtype, attention)
    assert predicted + count_copies(family, model, dtype) == pytest.approx(measured, rel=0.005)


@pytest.mark.parametrize("model", [
    ModelConfig(lora_r=8, lora_dropout=0.1),
    ModelConfig(lora_r=8, lora_target_modules=("q_proj", "v_proj")),
    ModelConfig(lora_r=8, lora_target_modules=("gate_proj", "down_proj")),
], ids=["dropout", "attention only", "MLP only"])  # fmt: skip
def test_dropout_and_fewer_targets_are_told_apart(model: ModelConfig) -> None:
    shape = read_shape(make_config("llama").to_dict())
    how = Computation(4, is_cuda=False)
    predicted = count_layer_bytes(shape, model, TrainingConfig(), how, TOKENS)
    assert predicted == pytest.approx(measure_block("llama", model, "float32"), rel=0.005)


@pytest.mark.parametrize("model", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_checkpointed_block_keeps_its_input(family: str, model: ModelConfig, dtype: str) -> None:
    shape = read_shape(make_config(family).to_dict())
    predicted = TOKENS * count_border_bytes(shape, model, Computation(WIDTHS[dtype]))
    assert measure_block(family, model, dtype, checkpointing=True) == predicted
