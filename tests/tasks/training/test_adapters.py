"""Adapters: putting one on changes nothing; its files are the same everywhere and fit a base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2Config

from configs.errors import RequestError
from configs.schema import ModelConfig
from tasks.training.adapters import (
    ADAPTER_WEIGHTS,
    attach_adapter,
    cast_inputs,
    cast_whole_modules,
    load_adapter,
    write_adapter,
)
from tasks.training.models import count_parameters, load_base

from .conftest import LORA, build_base
from .test_train import change

IDS = torch.arange(5, 15).unsqueeze(0)
TIED = LORA.model_copy(update={"lora_modules_to_save": ("embed_tokens",)})


def compute_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def make_adapter(base: Path, config: ModelConfig = LORA, dtype: str = "float32") -> Any:
    """Return a base with an adapter that changes its outputs."""
    net = attach_adapter(load_base(base, dtype=dtype), config)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return net.eval()


def test_new_adapter_changes_no_output(base: Path) -> None:
    net = load_base(base, dtype="float32")
    before = compute_logits(net)
    assert torch.equal(compute_logits(attach_adapter(net, TIED).eval()), before)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_modules_to_save": ("embed_tokens",)},
        {"use_dora": True},
        {"use_rslora": True, "lora_target_modules": ("q_proj", "v_proj")},
    ],
)
def test_reloaded_adapter_gives_the_same_logits(
    base: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    net = make_adapter(base, LORA.model_copy(update=changes))
    write_adapter(net, tmp_path, name="models/tiny", revision="abc")
    expected = compute_logits(net)
    assert not torch.allclose(expected, compute_logits(load_base(base, dtype="float32")), atol=0.1)
    found = compute_logits(load_adapter(load_base(base, dtype="float32"), tmp_path))
    assert torch.equal(found, expected)


def test_other_tools_read_the_adapter(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    net = make_adapter(base, TIED)
    write_adapter(net, tmp_path, name="models/tiny", revision=None)
    theirs = PeftModel.from_pretrained(load_base(base, dtype="float32"), str(tmp_path)).eval()
    assert torch.equal(compute_logits(theirs), compute_logits(net))


def test_tied_embedding_stays_tied(base: Path) -> None:
    net = make_adapter(base, TIED)
    assert torch.equal(net.get_input_embeddings().weight, net.get_output_embeddings().weight)
    lora = count_parameters(attach_adapter(load_base(base, dtype="float32"), LORA))[1]
    assert count_parameters(net)[1] == lora + 400 * 64  # the tied weight counts once


def test_everything_trained_is_float32_on_a_base_in_16_bits(base: Path) -> None:
    net = make_adapter(base, TIED, dtype="bfloat16")
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    assert any("modules_to_save" in name for name in trained)
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert {p.dtype for p in net.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert net.get_input_embeddings().weight is net.get_output_embeddings().weight


def test_modules_trained_in_full_are_stored_as_they_are_loaded(base: Path, tmp_path: Path) -> None:
    net = make_adapter(base, TIED, dtype="bfloat16")
    cast_whole_modules(net, torch.bfloat16)
    write_adapter(net, tmp_path, name="models/tiny", revision=None)
    stored = {k: v.dtype for k, v in load_file(tmp_path / "adapter_model.safetensors").items()}
    whole = {dtype for name, dtype in stored.items() if "lora" not in name}
    assert whole == {torch.bfloat16}
    assert {dtype for name, dtype in stored.items() if "lora" in name} == {torch.float32}
    found = compute_logits(load_adapter(load_base(base, dtype="bfloat16"), tmp_path))
    assert torch.equal(found, compute_logits(net))


def test_config_names_no_path_of_this_machine(base: Path, tmp_path: Path) -> None:
    net = make_adapter(base)
    write_adapter(net, tmp_path / "a", name=str(base), revision="abc")
    write_adapter(net, tmp_path / "b", name="org/model", revision="abc")
    texts = [(tmp_path / name / "adapter_config.json").read_text() for name in "ab"]
    assert str(base.parent) not in texts[0]
    assert json.loads(texts[0])["base_model_name_or_path"] == base.name
    assert json.loads(texts[1])["base_model_name_or_path"] == "org/model"
    assert json.loads(texts[1])["revision"] == "abc"
    targets = json.loads(texts[0])["target_modules"]
    assert targets == sorted(targets)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_adapter_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig

    from .conftest import build_base

    write_adapter(make_adapter(base), tmp_path / "adapter", name="models/tiny", revision=None)
    config = LlamaConfig.from_pretrained(base)
    config.num_hidden_layers = 1
    other = load_base(build_base(tmp_path / "other", config), dtype="float32")
    with pytest.raises(RequestError, match=r"does not fit the base model"):
        load_adapter(other, tmp_path / "adapter")


def test_unknown_modules_are_refused(base: Path) -> None:
    targets = LORA.model_copy(update={"lora_target_modules": ("query",)})
    with pytest.raises(RequestError, match=r"model.lora_target_modules"):
        attach_adapter(load_base(base, dtype="float32"), targets)
    saved = LORA.model_copy(update={"lora_modules_to_save": ("embeddings",)})
    with pytest.raises(RequestError, match=r"model.lora_modules_to_save.*embeddings"):
        attach_adapter(load_base(base, dtype="float32"), saved)


@pytest.fixture(scope="module")
def biased_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2, whose query, key and value have biases."""
    config = Qwen2Config(
        vocab_size=400, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        tie_word_embeddings=True, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return build_base(tmp_path_factory.mktemp("biased"), config)


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_are_trained_stored_and_loaded(bias: str, biased_base: Path, tmp_path: Path) -> None:
    config = change(LORA, lora_bias=bias)
    net = make_adapter(biased_base, config)
    trained = {n for n, p in net.named_parameters() if p.requires_grad and n.endswith(".bias")}
    assert len(trained) == 6
    write_adapter(net, tmp_path, name="models/tiny", revision=None)
    assert sum(name.endswith(".bias") for name in load_file(tmp_path / ADAPTER_WEIGHTS)) == 6
    loaded = load_adapter(load_base(biased_base, dtype="float32"), tmp_path)
    assert torch.equal(compute_logits(loaded), compute_logits(net))


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj")])
def test_only_the_asked_blocks_get_an_adapter(base: Path, targets: Any) -> None:
    config = change(LORA, lora_layers_to_transform=(1,), lora_target_modules=targets)
    net = attach_adapter(load_base(base, dtype="float32"), config)
    adapted = [name for name, p in net.named_parameters() if p.requires_grad]
    assert len(adapted) == (2 * 7 if targets == "all-linear" else 2 * 2)
    assert all(".layers.1." in name for name in adapted)


def test_a_block_that_is_not_there_is_refused(base: Path) -> None:
    config = change(LORA, lora_layers_to_transform=(1, 2))
    with pytest.raises(RequestError, match="has no block 2; allowed: numbers from 0 to 1"):
        attach_adapter(load_base(base, dtype="float32"), config)


def test_casts_are_back_after_the_block(base: Path) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    net = make_adapter(base)
    layers = [module for module in net.modules() if isinstance(module, BaseTunerLayer)]
    with cast_inputs(net, enabled=False):
        assert not any(layer.cast_input_dtype_enabled for layer in layers)
    assert all(layer.cast_input_dtype_enabled for layer in layers)


def test_no_casts_under_autocast_give_the_same_gradient(base: Path) -> None:
    def compute_gradient(*, enabled: bool) -> torch.Tensor:
        torch.manual_seed(2)
        net = attach_adapter(load_base(base, dtype="bfloat16"), LORA)
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.01)
        with cast_inputs(net, enabled=enabled), torch.autocast("cpu", dtype=torch.bfloat16):
            net(IDS).logits.float().logsumexp(-1).sum().backward()
        return torch.cat([p.grad.flatten() for p in net.parameters() if p.requires_grad])

    with_casts = compute_gradient(enabled=True)
    assert with_casts.abs().max() > 0
    torch.testing.assert_close(compute_gradient(enabled=False), with_casts, rtol=0.02, atol=1e-3)
