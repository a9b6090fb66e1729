"""Inputs of blocks lie on the processor meanwhile; gradients and losses stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import RequestError
from configs.schema import ModelConfig
from tasks.training import offloading
from tasks.training.devices import Device
from tasks.training.levers import check_levers
from tasks.training.loss import compute_token_losses
from tasks.training.offloading import offload_inputs
from tests.tasks.training.conftest import LORA, TRAINING
from tests.tasks.training.measuring import (
    TOKENS,
    build_model,
    make_config,
    make_row,
    train_as_engine,
)
from tests.tasks.training.test_train import change, read_history, run

LAYERS = 3


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_inputs_of_all_blocks_go_and_come_back(
    family: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    away: list[int] = []

    def move_away(tensor: torch.Tensor) -> Any:
        away.append(tensor.nbytes)
        return tensor.device, tensor.clone()

    monkeypatch.setattr(offloading, "move_away", move_away)
    gradients = []
    for is_offloaded in (False, True):
        model = ModelConfig(lora_r=8)
        net = build_model(make_config(family, layers=LAYERS), model, dtype, checkpointing=True)
        net.enable_input_require_grads()
        if is_offloaded:
            offload_inputs(net)
        with train_as_engine(net, dtype, "varlen") as autocast:
            with autocast():
                loss = compute_token_losses(net, make_row()).sum()
            loss.backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        )
    assert torch.equal(*gradients)
    width = torch.finfo(getattr(torch, dtype)).bits // 8
    assert away.count(TOKENS * 128 * width) == LAYERS


def test_a_training_stays_the_same(
    formatted: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is resumed without: what is carried out otherwise is no other training."""
    monkeypatch.setattr("tasks.training.train.check_levers", lambda *_: None)
    moved: list[torch.Size] = []
    pack = offloading.move_away
    monkeypatch.setattr(offloading, "move_away", lambda t: moved.append(t.shape) or pack(t))
    training = change(TRAINING, max_steps=4, num_sample_generations=0, logging_steps=1)
    plain = run(formatted, base, tmp_path / "plain", LORA, training)
    assert not moved
    offloaded = change(training, activation_offloading=True)
    other = run(formatted, base, tmp_path / "other", LORA, offloaded)
    assert len(moved) >= 2 * 4  # two blocks, four steps
    assert read_history(other) == read_history(plain)
    assert offloaded.describes_result == training.describes_result


def test_a_processor_has_nowhere_to_move_them() -> None:
    with pytest.raises(RequestError) as caught:
        check_levers(change(TRAINING, activation_offloading=True), Device("cpu", "", 0, True))
    assert caught.value.where == "training.activation_offloading"


def test_a_model_without_such_blocks_is_refused() -> None:
    with pytest.raises(RequestError, match="no blocks"):
        offload_inputs(torch.nn.Linear(1, 1))
