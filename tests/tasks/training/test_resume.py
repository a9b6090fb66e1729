"""A training killed in the middle gives, run again, the same losses to the last digit."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from configs.schema import TrainingConfig
from tasks.training.checkpoints import DIGEST_FILE

from .conftest import LORA, TRAINING
from .test_train import change, read_history, run

# Dropout makes the random state matter; the last checkpoint before the end is no multiple of the
# logging steps.
MODEL = change(LORA, lora_dropout=0.1, lora_modules_to_save=("embed_tokens",))
RESUMED: TrainingConfig = change(
    TRAINING, eval_steps=6, early_stopping_patience=2, save_total_limit=9
)
KILL = """
import os, signal, sys, torch
from pathlib import Path
from configs.schema import ModelConfig, TrainingConfig
from tasks.records.observer import SilentObserver
from tasks.training.train import train_model

class Killer(SilentObserver):
    def report_progress(self, done, total, unit):
        if done == int(sys.argv[6]):
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
train_model(
    formatted=Path(sys.argv[1]), base_location=Path(sys.argv[2]), out=Path(sys.argv[3]),
    model=ModelConfig.model_validate_json(sys.argv[4]),
    training=TrainingConfig.model_validate_json(sys.argv[5]),
    base_revision="abc", observer=Killer(),
)
"""


def kill_at(step: int, formatted: Path, base: Path, out: Path) -> None:
    """Train in another process, which dies by SIGKILL after an optimiser step."""
    texts = [MODEL.model_dump_json(), RESUMED.model_dump_json(), str(step)]
    command = [sys.executable, "-c", KILL, str(formatted), str(base), str(out), *texts]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONHASHSEED": "1",
    }
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr


def read_model(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "model").iterdir()}


def test_killed_training_goes_on_exactly(
    base: Path, formatted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run(formatted, base, tmp_path / "whole", MODEL, RESUMED)
    kill_at(15, formatted, base, tmp_path / "killed")
    assert not (tmp_path / "killed" / "model").exists()
    for name in ("adapter_config.json", "adapter_model.safetensors"):  # the order of sets differs
        files = [tmp_path / out / "checkpoints/checkpoint-12" / name for out in ("whole", "killed")]
        assert files[0].read_bytes() == files[1].read_bytes()
    with caplog.at_level(logging.INFO, "hone"):
        resumed = run(formatted, base, tmp_path / "killed", MODEL, RESUMED)
    assert "steps 13 to 22" in caplog.text
    assert read_history(resumed) == read_history(whole)
    assert read_model(tmp_path / "killed") == read_model(tmp_path / "whole")
    samples = [(tmp_path / name / "samples.md").read_text() for name in ("whole", "killed")]
    assert samples[0] == samples[1]


def test_half_written_and_damaged_checkpoints_are_passed_over(
    base: Path, formatted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training = RESUMED
    whole = run(formatted, base, tmp_path, MODEL, training)
    history, model = read_history(whole), read_model(tmp_path)
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "checkpoint-22" / DIGEST_FILE).unlink()
    optimizer = checkpoints / "checkpoint-18" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    with caplog.at_level(logging.INFO, "hone"):
        again = run(formatted, base, tmp_path, MODEL, training)
    assert "checkpoint-22 is passed over" in caplog.text
    assert "checkpoint-18 is passed over: optimizer.pt is damaged" in caplog.text
    assert "steps 13 to 22" in caplog.text
    assert read_history(again) == history
    assert read_model(tmp_path) == model


def test_stopped_early_stays_stopped(base: Path, formatted: Path, tmp_path: Path) -> None:
    """A kill after the last checkpoint of an early stop must not train on."""
    training = change(
        RESUMED, learning_rate=3.0, eval_steps=2, early_stopping_patience=1, num_train_epochs=10,
        warmup_ratio=0.0, lr_scheduler_type="constant",
    )  # fmt: skip
    first = run(formatted, base, tmp_path, LORA, training)
    again = run(formatted, base, tmp_path, LORA, training)
    assert first.num_steps == again.num_steps < 110
    assert read_history(first) == read_history(again)


def test_patience_survives_a_kill(base: Path, formatted: Path, tmp_path: Path) -> None:
    """One bad validation before the kill and one after it make two."""
    training = change(
        RESUMED, learning_rate=3.0, eval_steps=2, early_stopping_patience=3, num_train_epochs=10,
        warmup_ratio=0.0, lr_scheduler_type="constant", save_total_limit=99,
    )  # fmt: skip
    whole = run(formatted, base, tmp_path, LORA, training)
    history = read_history(whole)
    assert whole.num_steps >= 8
    (tmp_path / "checkpoints" / f"checkpoint-{whole.num_steps}" / DIGEST_FILE).unlink()
    again = run(formatted, base, tmp_path, LORA, training)
    assert again.num_steps == whole.num_steps
    assert read_history(again) == history


def test_checkpoints_of_another_training_are_not_used(
    base: Path, formatted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(formatted, base, tmp_path, LORA, change(TRAINING, max_steps=4))
    with caplog.at_level(logging.INFO, "hone"):
        run(formatted, base, tmp_path, LORA, change(TRAINING, max_steps=4, seed=1))
    assert "belongs to another training" in caplog.text
    assert "steps 1 to 4" in caplog.text
