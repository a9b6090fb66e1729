"""The memory plan counts as torch does, keeps to measured peaks, and moves the right way."""

import itertools
import json
from pathlib import Path

import pytest

import tasks.training.loss
import tasks.training.memory
from configs.errors import RequestError
from configs.schema import ModelConfig, TrainingConfig
from tasks.training.activations import Computation
from tasks.training.memory import RowLoad, estimate_memory, predict_memory
from tasks.training.shapes import read_shape
from tests.tasks.training.measuring import (
    TOKENS,
    build_model,
    make_config,
    make_row,
    measure_peak,
)

LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
TRAINING = TrainingConfig(max_length=2048)
WIDTHS = {"float32": 4, "bfloat16": 2}


@pytest.mark.parametrize("modules", [(), ("embed_tokens",)])
def test_parameters_are_counted_as_torch_counts_them(base: Path, modules: tuple[str, ...]) -> None:
    from tasks.training.adapters import attach_adapter
    from tasks.training.models import count_parameters, load_base

    config = ModelConfig(lora_r=4, lora_modules_to_save=modules)
    net = attach_adapter(load_base(base, dtype="float32"), config)
    plan = estimate_memory(json.loads((base / "config.json").read_text()), config, TRAINING)
    assert (plan.num_parameters, plan.num_trainable_parameters) == count_parameters(net)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize(
    ("family", "method", "dtype", "checkpointing"),
    [
        *itertools.product(("llama",), ("lora", "full"), WIDTHS, (False, True)),
        *itertools.product(("qwen2", "gpt2"), ("lora",), ("float32",), (False, True)),
        *itertools.product(("qwen2", "gpt2"), ("full",), ("bfloat16",), (False, True)),
    ],
)
def test_peak_of_a_training_step(
    family: str, method: str, dtype: str, *, checkpointing: bool
) -> None:
    assert_peak(family, method, dtype, checkpointing=checkpointing)


@pytest.mark.parametrize(("dtype", "checkpointing", "num_rows", "vocabulary"), [
    ("float32", False, 2, 8192),
    ("bfloat16", True, 2, 8192),
    ("float32", True, 1, 512),
    ("bfloat16", False, 1, 512),
])  # fmt: skip
def test_peak_with_many_logits_and_without_accumulation(
    dtype: str, num_rows: int, vocabulary: int, *, checkpointing: bool
) -> None:
    assert_peak(
        "llama", "full", dtype, checkpointing=checkpointing, num_rows=num_rows,
        vocabulary=vocabulary,
    )  # fmt: skip


def test_peak_of_a_loss_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tasks.training.loss, tasks.training.memory):
        monkeypatch.setattr(module, "CHUNK_BYTES", 1 << 19)
    assert_peak("llama", "lora", "bfloat16", checkpointing=True, vocabulary=8192)


def test_peak_of_an_optimiser_that_copies_its_parameters() -> None:
    assert_peak("llama", "full", "float32", tokens=32, optim="adamw_torch")


def assert_peak(
    family: str,
    method: str,
    dtype: str,
    *,
    checkpointing: bool = False,
    num_rows: int = 2,
    vocabulary: int = 512,
    tokens: int = TOKENS,
    optim: str = "adamw_torch_fused",
) -> None:
    """Hold a prediction to 15 % of the bytes that a training has alive on the processor."""
    import torch

    model = ModelConfig.model_validate({"method": method, "lora_r": 8})
    config = make_config(family, layers=3, vocabulary=vocabulary)
    net = build_model(config, model, dtype, checkpointing=checkpointing)
    optimizer = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad],
        fused=optim == "adamw_torch_fused",
        foreach=optim == "adamw_torch",
    )
    row = make_row(tokens=tokens)
    measured = measure_peak(net, row, dtype, optimizer, num_rows=num_rows)
    load = RowLoad(tokens, sum(row.num_trained), 3 if checkpointing else 0, num_rows > 1)
    plan = predict_memory(
        read_shape(config.to_dict()), model, TrainingConfig(optim=optim), load,
        Computation(WIDTHS[dtype], is_cuda=False),
    )  # fmt: skip
    assert plan.total_bytes == pytest.approx(measured, rel=0.15), plan.parts


def test_activations_of_an_8b_model_are_180_kilobytes_a_token_and_layer() -> None:
    """In bfloat16, with flash attention, which shares its output with the next layer."""
    plan = estimate_memory(LLAMA_8B, ModelConfig(), TRAINING)
    without_logits = plan.activations_bytes / (2048 * 32)
    assert without_logits == pytest.approx(180 * 1024, rel=0.01)


def test_what_saves_memory_saves_memory() -> None:
    lora = estimate_memory(LLAMA_8B, ModelConfig(), TRAINING)
    recomputed = estimate_memory(LLAMA_8B, ModelConfig(), TRAINING, activation_checkpointing=True)
    qlora = estimate_memory(LLAMA_8B, ModelConfig(method="qlora"), TRAINING)
    full = estimate_memory(LLAMA_8B, ModelConfig(method="full"), TRAINING)
    small = TRAINING.model_copy(update={"optim": "adamw_8bit"})
    assert recomputed.activations_bytes < lora.activations_bytes / 10
    assert qlora.weights_bytes == pytest.approx(5.7e9, rel=0.02)
    assert full.weights_bytes == 0
    assert full.optimizer_bytes == 8 * full.num_parameters
    assert estimate_memory(LLAMA_8B, ModelConfig(method="full"), small).optimizer_bytes < (
        full.optimizer_bytes / 3.9
    )
    assert lora.fits(48 * 2**30)
    assert not lora.fits(24 * 2**30)


def test_quantised_weights_are_counted_with_their_constants() -> None:
    """Of 64 weights: 32 bytes and a float32, or an 8-bit constant; 8-bit layers take a byte."""
    linear = 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    sizes = {
        name: estimate_memory(
            LLAMA_8B, ModelConfig.model_validate({"method": "qlora", **fields}), TRAINING
        ).weights_bytes
        for name, fields in {
            "nested": {}, "plain": {"use_bnb_nested_quant": False}, "8 bits": {"load_in_8bit": True}
        }.items()
    }  # fmt: skip
    assert sizes["plain"] - sizes["nested"] == pytest.approx(linear / 64 * (3 - 4 / 256), rel=1e-3)
    assert sizes["8 bits"] - sizes["plain"] == pytest.approx(linear * (0.5 - 4 / 64), rel=1e-3)


def test_named_targets_cost_less_than_all_of_them() -> None:
    some = ModelConfig(lora_target_modules=("q_proj", "v_proj"))
    plan = estimate_memory(LLAMA_8B, some, TRAINING)
    assert plan.num_trainable_parameters == 32 * 16 * ((4096 + 4096) + (4096 + 1024))


def test_unknown_shapes_are_refused() -> None:
    with pytest.raises(RequestError, match=r"hidden_size"):
        estimate_memory({"d_model": 512}, ModelConfig(), TRAINING)
