import json
from pathlib import Path

import pytest

from configs.load import list_presets, load_config
from configs.sizes import BASE_SHAPES, estimate_gpu_bytes, find_shape

# Weights as the models' cards give them, in millions.
PUBLISHED = {
    "meta-llama/Meta-Llama-3-8B-Instruct": 8030,
    "meta-llama/Llama-3.2-3B-Instruct": 3213,
    "meta-llama/Llama-2-7b-hf": 6738,
    "meta-llama/Llama-2-13b-hf": 13016,
    "meta-llama/Llama-2-70b-hf": 68977,
    "mistralai/Mistral-7B-Instruct-v0.3": 7248,
    "Qwen/Qwen2.5-0.5B-Instruct": 494,
    "openai-community/gpt2": 124,
}


@pytest.mark.parametrize("name", BASE_SHAPES)
def test_shape_gives_the_published_number_of_weights(name: str) -> None:
    shape = BASE_SHAPES[name]
    assert (shape.num_linear + shape.num_embedding) / 1e6 == pytest.approx(
        PUBLISHED[name], rel=0.01
    )


def test_adapter_of_the_8b_shape_has_its_known_size() -> None:
    # r=16 on all linear layers of Llama 3 8B: 41,943,040 trainable weights, as peft prints.
    assert BASE_SHAPES["meta-llama/Meta-Llama-3-8B-Instruct"].count_adapter(16) == 41_943_040


@pytest.mark.parametrize(
    ("preset", "card_gigabytes"),
    [("llama3-3b-lora", 12), ("llama3-8b-lora", 24), ("llama3-8b-qlora", 12),
     ("mistral-7b-lora", 24), ("llama2-13b-lora", 40), ("llama2-70b-qlora", 80)],
)  # fmt: skip
def test_preset_fits_the_card_that_its_purpose_names(preset: str, card_gigabytes: int) -> None:
    config = load_config(preset)
    needed = estimate_gpu_bytes(config.model, config.training)
    assert needed is not None
    assert 0.4 * card_gigabytes < needed / 1e9 < 0.9 * card_gigabytes


def test_every_preset_has_an_estimate_and_the_tiny_ones_need_no_gpu() -> None:
    for preset in list_presets():
        assert preset.gpu_bytes is not None
        assert (preset.gpu_bytes == 0) == preset.name.startswith("tiny")


def test_shape_of_a_local_model_is_read(tmp_path: Path) -> None:
    config = {
        "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048,
        "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = find_shape(str(tmp_path))
    assert shape is not None
    assert (shape.kv_size, shape.num_embedding) == (64, 2048 * 128)


@pytest.mark.parametrize("text", [None, "", "[]", '{"n_embd": 768}'])
def test_unknown_shape_gives_no_estimate(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert find_shape(str(tmp_path)) is None
    model = load_config("tiny").model.model_copy(update={"model_name_or_path": str(tmp_path)})
    assert estimate_gpu_bytes(model, load_config("tiny").training) is None
