from __future__ import annotations

import json

import pytest

from configs.load import list_presets
from flows.commands.presets import describe_memory, estimate_gpu_bytes, show_presets
from tasks.training.known_bases import KNOWN_BASES
from tasks.training.memory import read_shape

# Parameters that the models' cards state, in billions.
PUBLISHED = {
    "meta-llama/Meta-Llama-3-8B-Instruct": 8.03,
    "meta-llama/Llama-3.2-3B-Instruct": 3.21,
    "meta-llama/Llama-2-7b-hf": 6.74,
    "meta-llama/Llama-2-13b-hf": 13.02,
    "meta-llama/Llama-2-70b-hf": 68.98,
    "mistralai/Mistral-7B-Instruct-v0.3": 7.25,
    "Qwen/Qwen2.5-0.5B-Instruct": 0.494,
    "openai-community/gpt2": 0.124,
}
# The card that each preset's purpose names, in GB.
CARDS = {"llama3-3b-lora": 12, "llama3-8b-lora": 24, "llama2-13b-lora": 40, "llama2-70b-qlora": 80}


@pytest.mark.parametrize("name", sorted(KNOWN_BASES))
def test_known_sizes_give_the_published_parameters(name: str) -> None:
    shape = read_shape(KNOWN_BASES[name])
    billions = (shape.num_linear_parameters + shape.num_embedding_parameters) / 1e9
    assert billions == pytest.approx(PUBLISHED[name], rel=0.01)


def test_every_preset_has_an_estimate_and_the_tiny_ones_need_no_gpu() -> None:
    for preset in list_presets():
        estimate = estimate_gpu_bytes(preset)
        assert estimate is not None
        assert (estimate == 0) == preset.name.startswith("tiny")


@pytest.mark.parametrize("name", sorted(CARDS))
def test_presets_fit_the_card_that_they_are_for(name: str) -> None:
    preset = next(preset for preset in list_presets() if preset.name == name)
    estimate = estimate_gpu_bytes(preset)
    assert estimate is not None
    assert estimate < CARDS[name] * 1e9


def test_configs_command_prints_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_presets(as_json=True) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in printed["presets"]} == {p.name for p in list_presets()}
    assert show_presets(as_json=False) == 0
    assert "llama3-8b-qlora" in capsys.readouterr().out


def test_memory_in_words() -> None:
    assert [describe_memory(n) for n in (None, 0, 12 * 2**30)] == [
        "unknown", "none needed", "12 GiB",
    ]  # fmt: skip
