"""Memory that runs out makes a training leaner, not another one."""

from __future__ import annotations

import json
import logging
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import RunError
from tasks.training import setting, shared_base
from tasks.training.engine import PackedTrainer
from tasks.training.fitting import MemorySetting

from .conftest import LORA, TRAINING
from .test_train import change, read_history, run

QUIET = change(
    TRAINING, eval_steps=4, max_steps=12, num_sample_generations=0, gradient_accumulation_steps=8
)
LONG_ROWS = MemorySetting(row_tokens=512, num_checkpointed=0)


class SmallMemory:
    """Memory for rows up to a size, and from a step on for less than that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, from_step: int, max_tokens: int) -> None:
        self.failures: list[tuple[int, int]] = []
        train_row = PackedTrainer._train_row

        def train_or_fail(trainer: Any, model: Any, row: Any, num_items: int) -> torch.Tensor:
            tokens, step = row.input_ids.numel(), trainer.state.global_step + 1
            if step >= from_step and tokens > max_tokens:
                self.failures.append((step, tokens))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return train_row(trainer, model, row, num_items)

        monkeypatch.setattr(PackedTrainer, "_train_row", train_or_fail)


@pytest.fixture
def long_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting, "_choose_setting", lambda *_: LONG_ROWS)


def read_setting(out: Path) -> tuple[int, int]:
    record = json.loads((out / setting.FILE).read_text())
    return record["row_tokens"], record["num_checkpointed"]


def test_checkpointing_comes_first_then_shorter_rows_and_the_result_is_the_same(
    base: Path, formatted: Path, tmp_path: Path, long_rows: None,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    whole = run(formatted, base, tmp_path / "whole", LORA, QUIET)
    memory = SmallMemory(monkeypatch, from_step=6, max_tokens=128)
    with caplog.at_level(logging.WARNING, "hone"):
        result = run(formatted, base, tmp_path / "lean", LORA, QUIET)
    # Each attempt began at the checkpoint of step 4 and came to the same step as the one before.
    assert [step for step, _ in memory.failures] == [6] * len(memory.failures)
    warnings = [r.getMessage() for r in caplog.records if "memory ran out" in r.getMessage()]
    assert "rows of 512 tokens and 2 of 2 blocks" in warnings[0]
    assert "rows of 256 tokens and 2 of 2 blocks" in warnings[1]
    assert read_setting(tmp_path / "lean") == (128, 2)
    for found, expected in zip(read_history(result), read_history(whole), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)


def test_nothing_left_to_give_up_is_one_clear_error(
    base: Path, formatted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallMemory(monkeypatch, from_step=6, max_tokens=1)
    never = change(QUIET, gradient_checkpointing="off")
    with pytest.raises(RunError, match="has too little memory for rows of 128 tokens"):
        run(formatted, base, tmp_path, LORA, never)
    assert (tmp_path / "checkpoints" / "checkpoint-4").is_dir()


def test_a_resumed_training_keeps_its_rows(
    base: Path, formatted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long_rows: None
) -> None:
    run(formatted, base, tmp_path, LORA, QUIET)
    monkeypatch.setattr(setting, "_choose_setting", lambda *_: MemorySetting(128, 2))
    run(formatted, base, tmp_path, LORA, QUIET)
    assert read_setting(tmp_path) == (512, 0)
    run(formatted, base, tmp_path, LORA, change(QUIET, seed=1))  # another training asks anew
    assert read_setting(tmp_path) == (128, 2)


def test_a_damaged_setting_is_named_and_planned_again(
    base: Path, formatted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / setting.FILE).write_text('{"trai')
    with caplog.at_level(logging.WARNING, "hone"):
        run(formatted, base, tmp_path, LORA, change(QUIET, max_steps=2))
    assert "memory_setting.json is damaged" in caplog.text
    assert read_setting(tmp_path) == (128, 0)


def test_the_next_attempt_finds_the_memory_of_the_one_before_free(
    base: Path, formatted: Path, tmp_path: Path, long_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallMemory(monkeypatch, from_step=2, max_tokens=128)
    alive: list[int] = []
    models: list[weakref.ref[Any]] = []
    load_base = shared_base.load_base

    def load_and_note(*args: Any, **options: Any) -> Any:
        alive.append(sum(model() is not None for model in models))
        model = load_base(*args, **options)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(shared_base, "load_base", load_and_note)
    shared_base.release_base()
    run(formatted, base, tmp_path, LORA, QUIET)
    assert len(alive) > 1
    assert not any(alive)
