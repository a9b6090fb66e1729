"""The memory plan counts as torch does, and moves the right way."""

import json
from pathlib import Path

import pytest

from configs.errors import RequestError
from configs.schema import ModelConfig, TrainingConfig
from tasks.training.memory import estimate_memory

LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
TRAINING = TrainingConfig(max_length=2048)


@pytest.mark.parametrize("modules", [(), ("embed_tokens",)])
def test_parameters_are_counted_as_torch_counts_them(base: Path, modules: tuple[str, ...]) -> None:
    from tasks.training.adapters import attach_adapter
    from tasks.training.models import count_parameters, load_base

    config = ModelConfig(lora_r=4, lora_modules_to_save=modules)
    net = attach_adapter(load_base(base, dtype="float32"), config)
    plan = estimate_memory(json.loads((base / "config.json").read_text()), config, TRAINING)
    assert (plan.num_parameters, plan.num_trainable_parameters) == count_parameters(net)


def test_gpt2_is_counted_within_one_percent() -> None:
    """The biases of GPT-2's linear layers are left out."""
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config

    config = GPT2Config()
    with torch.device("meta"):
        expected = AutoModelForCausalLM.from_config(config).num_parameters()
    plan = estimate_memory(config.to_dict(), ModelConfig(method="full"), TRAINING)
    assert plan.num_parameters == pytest.approx(expected, rel=0.01)


def test_activations_of_an_8b_model_are_192_kilobytes_a_token_and_layer() -> None:
    plan = estimate_memory(LLAMA_8B, ModelConfig(), TRAINING)
    assert plan.activations_bytes / (2048 * 32) == pytest.approx(192 * 1024, rel=0.03)


def test_what_saves_memory_saves_memory() -> None:
    lora = estimate_memory(LLAMA_8B, ModelConfig(), TRAINING)
    recomputed = estimate_memory(LLAMA_8B, ModelConfig(), TRAINING, activation_checkpointing=True)
    qlora = estimate_memory(LLAMA_8B, ModelConfig(method="qlora"), TRAINING)
    full = estimate_memory(LLAMA_8B, ModelConfig(method="full"), TRAINING)
    assert recomputed.activations_bytes < lora.activations_bytes / 10
    assert qlora.weights_bytes == pytest.approx(5.7e9, rel=0.02)
    assert full.weights_bytes == 0
    assert full.trained_bytes == 16 * full.num_parameters
    assert lora.fits(48 * 2**30)
    assert not lora.fits(24 * 2**30)


def test_named_targets_cost_less_than_all_of_them() -> None:
    some = ModelConfig(lora_target_modules=("q_proj", "v_proj"))
    plan = estimate_memory(LLAMA_8B, some, TRAINING)
    assert plan.num_trainable_parameters == 32 * 16 * ((4096 + 4096) + (4096 + 1024))


def test_unknown_shapes_are_refused() -> None:
    with pytest.raises(RequestError, match=r"hidden_size"):
        estimate_memory({"d_model": 512}, ModelConfig(), TRAINING)
