"""Models are loaded whole or not at all, and each refusal says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import load_file, save_file

from configs.errors import RequestError, RunError
from tasks.training.models import _explain_load_error, count_parameters, load_base, load_trained

from .conftest import LORA, build_base

QLORA = LORA.model_copy(update={"method": "qlora"})


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def test_base_is_loaded_in_eval_mode_and_precision(base: Path) -> None:
    model = load_base(base, dtype="bfloat16")
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_folder_without_weights_is_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(RequestError, match=r"has no weights.*safetensors"):
        load_base(copy, dtype="float32")


def test_pickled_weights_are_not_read(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(RequestError, match=r"pytorch_model.bin, which may run code"):
        load_base(copy, dtype="float32")


def test_missing_tensors_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RequestError, match=r"lacks 1 weights.*layers.1.mlp.up_proj"):
        load_base(copy, dtype="float32")


def test_missing_folder_and_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"has no config.json"):
        load_base(tmp_path, dtype="float32")
    with pytest.raises(RequestError, match=r"model.model_name_or_path"):
        load_base(tmp_path / "none", dtype="float32")


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_names_the_page(status: int) -> None:
    request = httpx.Request("GET", "https://huggingface.co/org/gated")
    cause = GatedRepoError("gated", response=httpx.Response(status, request=request))
    error = OSError("You are trying to access a gated repo.")
    error.__cause__ = cause
    shown = _explain_load_error("org/gated", error)
    assert isinstance(shown, RequestError)
    assert "https://huggingface.co/org/gated" in str(shown)
    assert "HF_TOKEN" in str(shown)


def test_hub_that_is_away_can_be_tried_again() -> None:
    error = OSError("We couldn't connect")
    error.__context__ = httpx.ConnectError("no route")
    assert isinstance(_explain_load_error("org/model", error), RunError)


def test_quantised_layers_are_protected_and_counted(base: Path) -> None:
    model = load_base(base, dtype="float32", method="qlora", model=QLORA)
    layers = [m for m in model.modules() if type(m).__name__ == "Linear4bit"]
    assert len(layers) == 14
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    assert count_parameters(model)[0] == count_parameters(load_base(base, dtype="float32"))[0]


def build_odd(base: Path, folder: Path, **sizes: int) -> Path:
    from transformers import LlamaConfig

    config = LlamaConfig.from_pretrained(base)
    for name, value in sizes.items():
        setattr(config, name, value)
    return build_base(folder, config)


def test_layers_of_a_width_that_4_bit_kernels_get_wrong_are_not_quantised(
    base: Path, tmp_path: Path
) -> None:
    odd = build_odd(base, tmp_path / "odd", intermediate_size=96)
    model = load_base(odd, dtype="float32", method="qlora", model=QLORA)
    kinds = {n: type(m).__name__ for n, m in model.named_modules() if "Linear" in type(m).__name__}
    kept = sorted(name for name, kind in kinds.items() if kind == "Linear")
    assert kept == ["lm_head", *(f"model.layers.{i}.mlp.down_proj" for i in (0, 1))]
    assert sorted(set(kinds.values())) == ["Linear", "Linear4bit"]


def test_a_model_in_which_nothing_could_be_quantised_is_refused(base: Path, tmp_path: Path) -> None:
    odd = build_odd(base, tmp_path / "odd", hidden_size=48, intermediate_size=96, head_dim=12)
    with pytest.raises(RequestError, match=r"multiple of 64; .*q_proj.* has 48 inputs"):
        load_base(odd, dtype="float32", method="qlora", model=QLORA)


def test_missing_base_is_explained_before_it_is_quantised(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"model.model_name_or_path: .* cannot be loaded"):
        load_base(tmp_path / "none", dtype="float32", method="qlora", model=QLORA)


def test_another_kind_of_model_than_the_method_says_is_refused(base: Path) -> None:
    options = {"dtype": "float32", "device": "cpu"}
    with pytest.raises(RequestError, match=r"holds no adapter"):
        load_trained(base, base, method="lora", **options)
    loaded = load_trained(base, base, method="full", **options)
    assert not loaded.training
