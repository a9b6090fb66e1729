"""A preference training killed in the middle gives, run again, the same figures and weights."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.training.result import TrainingResult
from tasks.training.train import train_model
from tests.tasks.training.conftest import LORA, TRAINING
from tests.tasks.training.objectives.test_preference import change, read_history
from tests.tasks.training.test_resume import KILL

MODEL = change(LORA, lora_dropout=0.1)
RESUMED = change(TRAINING, eval_steps=3, early_stopping_patience=4, save_total_limit=9)


def train(formatted: Path, base: Path, out: Path, objective: str, **fields: Any) -> TrainingResult:
    return train_model(
        formatted=formatted,
        base_location=base,
        out=out,
        model=MODEL,
        training=change(RESUMED, objective=objective, **fields),
        base_revision="abc",
    )


def kill_at(step: int, formatted: Path, base: Path, out: Path, objective: str) -> None:
    """Train in another process, which dies by SIGKILL after an optimiser step."""
    training = change(RESUMED, objective=objective)
    texts = [MODEL.model_dump_json(), training.model_dump_json(), str(step)]
    command = [sys.executable, "-c", KILL, str(formatted), str(base), str(out), *texts]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_training_goes_on_exactly(
    base: Path, pairs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(pairs, base, tmp_path / "whole", "dpo")
    kill_at(8, pairs, base, tmp_path / "killed", "dpo")
    assert not (tmp_path / "killed" / "model").exists()
    with caplog.at_level(logging.INFO, "hone"):
        resumed = train(pairs, base, tmp_path / "killed", "dpo")
    assert "steps 7 to 12" in caplog.text
    assert read_history(resumed) == read_history(whole)
    weights = [
        (tmp_path / name / "model" / "adapter_model.safetensors").read_bytes()
        for name in ("whole", "killed")
    ]
    assert weights[0] == weights[1]


def test_labels_belong_to_the_digest(
    labelled: Path, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The tokens are the same when a label is turned round; the checkpoints are of no use then."""
    other = shutil.copytree(labelled, tmp_path / "other")
    rows = [json.loads(line) for line in (other / "examples/train.jsonl").read_text().splitlines()]
    rows[0]["label"] = not rows[0]["label"]
    (other / "examples/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train(labelled, base, tmp_path / "out", "kto", max_steps=1)
    train(other, base, tmp_path / "out", "kto", max_steps=1)
    assert "it belongs to another training" in caplog.text
