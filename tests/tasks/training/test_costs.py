"""Hours and money follow from operations, a known rate and a price; sizes from real files."""

from pathlib import Path

import pytest

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.costs import (
    CostEstimate,
    DeviceRate,
    count_model_bytes,
    estimate_costs,
    find_rate,
)
from tasks.training.devices import Device
from tasks.training.fitting import Examples, choose_computation, fit_training
from tasks.training.shapes import read_shape
from tests.tasks.training.measuring import build_model, make_config

SHAPE = read_shape(make_config("llama").to_dict())
EXAMPLES = Examples([30, 50] * 20, [10, 20] * 20)
TRAINING = TrainingConfig(num_train_epochs=2, max_length=128)
H200 = Device("cuda", "NVIDIA H200", 141 * 10**9, has_bfloat16=True)


def estimate(rate: DeviceRate | None, price: float | None, **fields: object) -> CostEstimate:
    training = TRAINING.model_copy(update=fields)
    model = ModelConfig()
    how = choose_computation(model, training, device="cpu", dtype="float32")
    fitted = fit_training(SHAPE, model, training, how, EXAMPLES, 2**33)
    return estimate_costs(
        SHAPE, model, training, fitted, EXAMPLES, dtype="float32", rate=rate, mfu=0.5,
        device_hour_price=price,
    )  # fmt: skip


def test_all_epochs_are_counted() -> None:
    found = estimate(None, None)
    assert (found.work.tokens, found.work.trained_tokens) == (2 * 1600, 2 * 600)
    assert found.work.squared_tokens == 2 * 20 * (30**2 + 50**2)


def test_hours_and_money_follow_from_rate_and_price() -> None:
    found = estimate(DeviceRate(1e9, "here"), 7.2)
    assert found.hours == pytest.approx(found.model_flops / 0.5e9 / 3600)
    assert found.money == pytest.approx(7.2 * found.model_flops / 0.5e9 / 3600)


def test_recomputing_takes_longer() -> None:
    rate = DeviceRate(1e9, "here")
    kept, again = estimate(rate, None), estimate(rate, None, gradient_checkpointing="on")
    assert kept.hours is not None
    assert again.hours is not None
    assert again.hours / kept.hours == pytest.approx(again.hardware_flops / kept.model_flops)
    assert again.hours > kept.hours


def test_nothing_is_made_up() -> None:
    assert (estimate(None, 3.0).hours, estimate(None, 3.0).money) == (None, None)
    assert estimate(DeviceRate(1e9, "here"), None).money is None
    unknown = Device("cuda", "NVIDIA Unheard-of", 2**34, has_bfloat16=True)
    assert find_rate(SHAPE, unknown, "bfloat16", row_tokens=128) is None
    mps = Device("mps", "Apple GPU", 2**34, has_bfloat16=False)
    assert find_rate(SHAPE, mps, "float32", row_tokens=128) is None


def test_a_rate_says_where_it_comes_from() -> None:
    rate = find_rate(SHAPE, H200, "bfloat16", row_tokens=128)
    assert rate == DeviceRate(989.4e12, "datasheet of the NVIDIA H200")
    cpu = Device("cpu", "x86_64", 2**33, has_bfloat16=False)
    measured = find_rate(SHAPE, cpu, "float32", row_tokens=128)
    assert measured is not None
    assert measured.flops > 1e7
    assert "128 x 128 x 352 measured on this processor" in measured.source


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(lora_r=8),
        ModelConfig(lora_r=8, lora_modules_to_save=("lm_head",)),
        ModelConfig(method="full"),
    ],
    ids=["lora", "whole module", "full"],
)
def test_the_size_is_that_of_the_file(model: ModelConfig, tmp_path: Path) -> None:
    from tasks.training.weights import choose_weights

    net = build_model(make_config("llama"), model, "float32")
    choose_weights(net, name="tiny", revision=None).write(tmp_path)
    written = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert count_model_bytes(SHAPE, model, "float32") == pytest.approx(written, rel=0.05)
    assert count_model_bytes(SHAPE, model, "float32") < written  # the header
