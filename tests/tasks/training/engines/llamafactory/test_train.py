"""Real trainings by LLaMA-Factory on a tiny model: the same folder, killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import RequestError, RunError
from configs.schema import ModelConfig
from tasks.training.checkpoints import DIGEST_FILE
from tasks.training.loss import compute_token_losses
from tasks.training.models import load_trained
from tasks.training.tokens import open_split
from tests.tasks.training.test_train import Recorder, read_history, run

from .conftest import ENGINE, MODEL, change

pytestmark = pytest.mark.slow

TRAIN = """
import signal, sys, torch
from pathlib import Path
from configs.schema import ModelConfig, TrainingConfig
from tasks.training.train import train_model

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as the command line does
torch.set_num_threads(1)
train_model(
    formatted=Path(sys.argv[1]), base_location=Path(sys.argv[2]), out=Path(sys.argv[3]),
    model=ModelConfig.model_validate_json(sys.argv[4]),
    training=TrainingConfig.model_validate_json(sys.argv[5]),
    base_revision="abc",
)
"""
# Dropout makes the random state matter.
DROPOUT: ModelConfig = change(MODEL, lora_dropout=0.1)
RESUMED = change(
    ENGINE, num_train_epochs=8, eval_steps=10, save_total_limit=99, early_stopping_patience=None
)


def start(formatted: Path, base: Path, out: Path) -> subprocess.Popen[bytes]:
    texts = [DROPOUT.model_dump_json(), RESUMED.model_dump_json()]
    command = [sys.executable, "-c", TRAIN, str(formatted), str(base), str(out), *texts]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})


def list_steps(out: Path) -> set[int]:
    sealed = (out / "checkpoints").glob(f"checkpoint-*/{DIGEST_FILE}")
    return {int(path.parent.name.rpartition("-")[2]) for path in sealed}


def list_children(out: Path) -> list[int]:
    """Return the processes that train into a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if str(out / "llamafactory" / "train.yaml").encode() in words:
            found.append(int(place.parent.name))
    return found


def wait_until(condition: Callable[[], Any], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def stop_after(
    step: int, number: signal.Signals, formatted: Path, base: Path, out: Path
) -> tuple[int, set[int]]:
    """Train in a process that gets a signal at a checkpoint; return its code and checkpoints."""
    process = start(formatted, base, out)
    wait_until(lambda: max(list_steps(out), default=0) >= step or process.poll() is not None)
    process.send_signal(number)
    code = process.wait(120)
    wait_until(lambda: not list_children(out), 30)
    return code, list_steps(out)


def test_adapter_is_what_the_native_engine_writes(
    python: Path, base: Path, formatted: Path, tmp_path: Path
) -> None:
    native = run(formatted, base, tmp_path / "native", MODEL)
    observer = Recorder()
    result = run(formatted, base, tmp_path / "out", MODEL, ENGINE, observer=observer)
    assert (result.num_steps, result.num_trainable_parameters, result.num_bytes) == (
        native.num_steps, native.num_trainable_parameters, native.num_bytes,
    )  # fmt: skip
    folders = [tmp_path / name / "model" for name in ("native", "out")]
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]
    configs = [json.loads((folder / "adapter_config.json").read_text()) for folder in folders]
    assert configs[0] == configs[1]
    history = read_history(result)
    losses = [record["loss"] for record in history if "loss" in record]
    assert losses[-1] < 0.8 * losses[0]
    assert [r["step"] for r in history if "loss" in r] == [4, 8, 11, 12, 16, 20, 22]
    assert observer.progress[-1] == (22, 22, "step")
    assert any("eval_loss" in metrics for _, metrics in observer.metrics)
    assert (tmp_path / "out" / "samples.md").is_file()
    check_losses(formatted, base, tmp_path / "out", history, result.metrics)
    again = run(formatted, base, tmp_path / "out", MODEL, ENGINE)
    del result.metrics["tokens_per_second"]
    assert again == result


def check_losses(
    formatted: Path, base: Path, out: Path, history: list[dict[str, float]], metrics: dict[str, Any]
) -> None:
    """Its validation loss is that of our tokens: the mean over batches of two examples."""
    net = load_trained(out / "model", base, method="lora", dtype="float32", device="cpu")
    split = open_split(formatted, "validation")
    assert split
    with torch.no_grad():
        losses = [
            compute_token_losses(net, split.read_row([index])) for index in range(len(split.ids))
        ]
    batches = [torch.cat(losses[i : i + 2]).mean() for i in range(0, len(losses), 2)]
    assert metrics["eval_loss"] == pytest.approx(torch.cat(losses).double().mean().item(), rel=1e-5)
    theirs = [record["eval_loss"] for record in history if "eval_loss" in record]
    assert min(theirs) == pytest.approx(torch.stack(batches).mean().item(), rel=1e-4)


def test_killed_and_terminated_training_goes_on_exactly(
    python: Path, base: Path, formatted: Path, tmp_path: Path
) -> None:
    whole = run(formatted, base, tmp_path / "whole", DROPOUT, RESUMED)
    out = tmp_path / "stopped"
    code, killed = stop_after(10, signal.SIGKILL, formatted, base, out)
    assert code == -signal.SIGKILL
    assert max(killed) < whole.num_steps
    code, terminated = stop_after(max(killed) + 10, signal.SIGTERM, formatted, base, out)
    assert code == 128 + signal.SIGTERM
    assert max(killed) + 10 < max(terminated) < whole.num_steps
    resumed = run(formatted, base, out, DROPOUT, RESUMED)
    assert resumed.num_steps == whole.num_steps
    evals = [[r for r in read_history(x) if "eval_loss" in r] for x in (whole, resumed)]
    assert evals[0] == evals[1]
    weights = [
        load_file(tmp_path / name / "model" / "adapter_model.safetensors")
        for name in ("whole", "stopped")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_freeze_trains_some_layers_of_the_whole_model(
    python: Path, base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(
        ENGINE,
        engine_args={"finetuning_type": "freeze", "freeze_trainable_layers": 1},
        max_steps=4,
        learning_rate=1e-3,
    )
    result = run(formatted, base, tmp_path, change(MODEL, method="full"), training)
    assert result.num_steps == 4
    before = load_file(base / "model.safetensors")
    after = load_file(tmp_path / "model" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".layers.1." in name for name in changed)


def test_its_own_refusals_are_ours(
    python: Path, base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(ENGINE, engine_args={"lora_ranks": 3})
    with pytest.raises(RequestError, match=r"engine_args: LLaMA-Factory refuses .*lora_ranks"):
        run(formatted, base, tmp_path, MODEL, training)
    reward = {"stage": "ppo", "reward_model": str(base), "reward_model_type": "full"}
    training = change(ENGINE, engine_args=reward, eval_strategy="no")
    with pytest.raises(RunError, match="trl") as caught:
        run(formatted, base, tmp_path, MODEL, training)
    assert "llamafactory.log" in caught.value.hint
