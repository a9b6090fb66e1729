"""When validations and checkpoints happen, which checkpoint is the best, and full disks."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RunError
from configs.schema import TrainingConfig
from tasks.records.observer import SilentObserver

from .conftest import LORA, TRAINING
from .test_train import change, read_history, run

QUIET = change(TRAINING, num_sample_generations=0, early_stopping_patience=None)


def list_checkpoints(out: Path) -> set[int]:
    return {int(path.name[11:]) for path in (out / "checkpoints").glob("checkpoint-*")}


def test_every_new_best_has_a_checkpoint_whatever_the_cadence(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(QUIET, eval_steps=4, save_steps=9, max_steps=20, save_total_limit=99)
    result = run(formatted, base, tmp_path, LORA, training)
    evaluated = [r for r in read_history(result) if "eval_loss" in r]
    assert [r["step"] for r in evaluated] == [4, 8, 12, 16, 20]
    best, bests = float("inf"), set()
    for record in evaluated:
        if record["eval_loss"] < best:
            best = record["eval_loss"]
            bests.add(record["step"])
    assert list_checkpoints(tmp_path) == bests | {9, 18, 20}
    assert result.best_step == max(bests)


def test_only_the_best_and_the_last_are_saved_where_that_is_asked(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(QUIET, eval_steps=5, save_strategy="best", max_steps=12, save_total_limit=1)
    result = run(formatted, base, tmp_path, LORA, training)
    assert list_checkpoints(tmp_path) == {result.best_step, 12}


def test_the_last_step_of_an_early_stop_is_saved_too(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(
        QUIET, eval_steps=5, save_strategy="best", max_steps=40, early_stopping_patience=1,
        learning_rate=5.0,
    )  # fmt: skip
    result = run(formatted, base, tmp_path, LORA, training)
    assert result.best_step < result.num_steps < 40
    assert list_checkpoints(tmp_path) == {result.best_step, result.num_steps}


def test_the_best_checkpoint_can_be_that_of_the_greatest_accuracy(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(QUIET, eval_steps=4, max_steps=20, metric_for_best_model="eval_accuracy")
    result = run(formatted, base, tmp_path, LORA, training)
    accuracies = {r["step"]: r["eval_accuracy"] for r in read_history(result) if "eval_loss" in r}
    assert all(0 <= accuracy <= 1 for accuracy in accuracies.values())
    assert len(set(accuracies.values())) > 1
    assert accuracies[result.best_step] == max(accuracies.values())
    assert result.metrics["eval_accuracy"] == accuracies[result.best_step]


def test_without_validation_the_last_step_is_the_result(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(QUIET, eval_steps=None, eval_strategy="no", max_steps=5)
    result = run(formatted, base, tmp_path, LORA, training)
    assert result.best_step == 5
    assert not any("eval_loss" in record for record in read_history(result))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"eval_strategy": "epoch", "eval_steps": 5}, "training.eval_steps has no meaning"),
        ({"save_strategy": "steps"}, "training.save_strategy: steps needs training.save_steps"),
        (
            {"metric_for_best_model": "eval_accuracy", "greater_is_better": False},
            "training.greater_is_better: false contradicts",
        ),
    ],
)
def test_cadences_that_contradict_are_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        TrainingConfig(**fields)


class DiskFiller(SilentObserver):
    """Lets no file grow beyond 20 kB after an optimiser step, as on a disk that is full."""

    def report_progress(self, done: int, total: int, unit: str) -> None:
        if done == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def test_a_full_disk_is_one_clear_error_and_the_checkpoint_before_stands(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    training = change(QUIET, eval_steps=4, max_steps=12)
    whole = run(formatted, base, tmp_path / "whole", LORA, training)
    out = tmp_path / "full"
    try:
        with pytest.raises(RunError, match="checkpoint-8: the checkpoint cannot be written"):
            run(formatted, base, out, LORA, training, observer=DiskFiller())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert list_checkpoints(out) == {4}
    again = run(formatted, base, out, LORA, training)
    assert read_history(again) == read_history(whole)
