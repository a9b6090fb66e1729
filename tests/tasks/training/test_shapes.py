"""Sizes are read in both dialects, and parameters counted as torch counts them."""

import pytest

from configs.errors import RequestError
from configs.schema import ModelConfig
from tasks.training.shapes import count_lora, count_trainable, is_head_trained, read_shape
from tests.tasks.training.measuring import build_model, make_config

pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out")


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_parameters_are_counted_to_the_last_one(family: str) -> None:
    config = make_config(family)
    shape = read_shape(config.to_dict())
    full = build_model(config, ModelConfig(method="full"), "float32")
    assert shape.num_parameters == full.num_parameters()
    lora = ModelConfig(lora_r=8)
    adapted = build_model(config, lora, "float32")
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert count_trainable(shape, lora) == trained


@pytest.mark.parametrize(
    "fields",
    [
        {"lora_layers_to_transform": (1,)},
        {"use_dora": True},
        {"lora_target_modules": ("q_proj", "down_proj")},
        {"lora_modules_to_save": ("lm_head",)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_every_way_to_shape_an_adapter_is_counted(fields: dict[str, object]) -> None:
    model = ModelConfig.model_validate({"lora_r": 8, **fields})
    config = make_config("llama")
    net = build_model(config, model, "float32")
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert count_trainable(read_shape(config.to_dict()), model) == trained


def test_a_tied_head_is_trained_with_its_embedding() -> None:
    shape = {family: read_shape(make_config(family).to_dict()) for family in ("llama", "qwen2")}
    embedding = ModelConfig(lora_modules_to_save=("embed_tokens",))
    assert is_head_trained(shape["qwen2"], embedding)
    assert not is_head_trained(shape["llama"], embedding)
    assert is_head_trained(shape["llama"], ModelConfig(method="full"))


def test_layers_that_the_model_lacks_get_no_adapter() -> None:
    shape = read_shape(make_config("llama").to_dict())
    some = ModelConfig(lora_layers_to_transform=(0, 7))
    assert 2 * count_lora(shape, some) == count_lora(shape, ModelConfig())


def test_a_mixture_of_experts_is_refused() -> None:
    config = make_config("llama").to_dict() | {"num_local_experts": 8}
    with pytest.raises(RequestError, match="mixture of experts"):
        read_shape(config)
