"""A merged model is the model that was trained: also when its base was in 4 or 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from configs.schema import ModelConfig
from tasks.training.adapters import attach_adapter, write_adapter
from tasks.training.merging import merge_trained, write_merged
from tasks.training.models import load_base, load_trained

from .conftest import LORA

QLORA = LORA.model_copy(update={"method": "qlora"})
EIGHT = QLORA.model_copy(update={"load_in_8bit": True})
INPUT_IDS = torch.arange(5, 45).reshape(2, 20)

pytestmark = pytest.mark.filterwarnings("ignore:MatMul8bitLt")


def write_trained(base: Path, folder: Path, model: ModelConfig) -> Path:
    """Write an adapter that changes its base a lot, with a tokenizer beside it."""
    torch.manual_seed(1)
    net = load_base(base, dtype="float32", method=model.method, model=model)
    net = attach_adapter(net, model)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    write_adapter(net, folder, name="tiny", revision=None)
    (folder / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    net.generation_config.save_pretrained(str(folder))
    return folder


def find_logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=INPUT_IDS, use_cache=False).logits)


def find_difference(model: Any, other: Any) -> float:
    return float((find_logits(model) - find_logits(other)).abs().max())


@pytest.mark.parametrize(
    ("model", "tolerance"), [(LORA, 1e-4), (QLORA, 1e-4), (EIGHT, 0.3)], ids=["16", "4", "8 bits"]
)
def test_what_is_merged_answers_as_what_was_trained(
    base: Path, tmp_path: Path, model: ModelConfig, tolerance: float
) -> None:
    adapter = write_trained(base, tmp_path / "adapter", model)
    options = {"method": model.method, "dtype": "float32", "device": "cpu", "model": model}
    trained = load_trained(adapter, base, **options)
    merged = merge_trained(adapter, base, **options)
    bare = load_base(base, dtype="float32")
    assert find_difference(trained, merged) < tolerance
    assert find_difference(bare, merged) > 1  # the adapter does something

    size = write_merged(merged, adapter, tmp_path / "merged")
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert not any(name.startswith("adapter") for name in names)
    assert size == (tmp_path / "merged" / "model.safetensors").stat().st_size
    assert "quantization_config" not in (tmp_path / "merged" / "config.json").read_text()
    loaded = load_base(tmp_path / "merged", dtype="float32")
    assert find_difference(loaded, merged) == 0


def test_merged_into_other_weights_it_is_another_model(base: Path, tmp_path: Path) -> None:
    adapter = write_trained(base, tmp_path / "adapter", QLORA)
    options: dict[str, Any] = {"dtype": "float32", "device": "cpu"}
    trained = load_trained(adapter, base, method="qlora", model=QLORA, **options)
    dequantised = merge_trained(adapter, base, method="qlora", model=QLORA, **options)
    original = merge_trained(adapter, base, method="lora", **options)
    in_place = load_trained(adapter, base, method="qlora", model=QLORA, **options)
    with pytest.warns(UserWarning, match="rounding"):
        in_place = in_place.merge_and_unload()
    right = find_difference(trained, dequantised)
    assert find_difference(trained, original) > 100 * right
    assert find_difference(trained, in_place) > 100 * right
