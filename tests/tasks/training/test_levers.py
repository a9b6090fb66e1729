"""Levers change how fast a training is, never what it learns; each device says what it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from configs.schema import TrainingConfig
from tasks.training.devices import Device
from tasks.training.levers import check_levers

from .conftest import LORA, TRAINING
from .test_train import change, read_history, run

SHORT = change(TRAINING, max_steps=4, eval_steps=2, logging_steps=2, num_sample_generations=0)
CPU = Device("cpu", "x86_64", 8 << 30, has_bfloat16=False)
LEVERS: dict[str, dict[str, Any]] = {
    "all logits": {"trained_logits_only": False},
    "loss at once": {"chunked_loss": False},
    "adapter inputs cast": {"cast_adapter_inputs": True},
    "compiled": {"torch_compile": True, "torch_compile_backend": "eager"},
    "loader workers": {"dataloader_num_workers": 1},
    "validation in pieces": {"eval_accumulation_steps": 1},
}


@pytest.fixture(scope="module")
def plain(base: Path, formatted: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return read_history(run(formatted, base, tmp_path_factory.mktemp("plain"), LORA, SHORT))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch hides it by a filter of its own
@pytest.mark.parametrize("lever", LEVERS)
def test_a_lever_does_not_change_the_losses(
    base: Path, formatted: Path, tmp_path: Path, plain: list[dict[str, float]], lever: str
) -> None:
    history = read_history(run(formatted, base, tmp_path, LORA, change(SHORT, **LEVERS[lever])))
    assert len(history) == len(plain)
    for record, expected in zip(history, plain, strict=True):
        assert record == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("fields", [{"tf32": True}, {"use_liger_kernel": True}])
def test_what_a_device_does_not_have_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="this machine has x86_64") as caught:
        check_levers(TrainingConfig(**fields), CPU)
    assert next(iter(fields)) in str(caught.value)


def test_default_levers_suit_every_device() -> None:
    check_levers(TrainingConfig(), CPU)
