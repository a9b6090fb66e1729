"""A training that is stopped from outside: it ends after a validation, and is no whole training."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import RunError
from tasks.training.stopping import TrainingStopped
from tasks.training.train import train_model
from tests.tasks.training.conftest import LORA, TRAINING

SHORT = TRAINING.model_copy(
    update={"eval_steps": 4, "max_steps": 12, "num_sample_generations": 0, "logging_steps": 4}
)


def test_a_stopped_training_ends_after_its_validation_and_can_be_gone_on_from(
    formatted: Path, base: Path, tmp_path: Path
) -> None:
    asked: list[tuple[int, float]] = []

    def stop_at_second(step: int, metrics: dict[str, float]) -> bool:
        asked.append((step, metrics["eval_loss"]))
        return step == 8

    options = {"formatted": formatted, "base_location": base, "model": LORA, "training": SHORT}
    out = tmp_path / "stopped"
    with pytest.raises(TrainingStopped, match="step 8"):
        train_model(**options, out=out, should_stop=stop_at_second)
    assert [step for step, _ in asked] == [4, 8]
    assert not (out / "model").exists()

    resumed = train_model(**options, out=out)
    whole = train_model(**options, out=tmp_path / "whole")
    assert resumed.num_steps == whole.num_steps == 12
    assert resumed.metrics["eval_loss"] == whole.metrics["eval_loss"]


def test_nobody_is_asked_when_the_training_is_over(
    formatted: Path, base: Path, tmp_path: Path
) -> None:
    asked: list[int] = []

    def never(step: int, metrics: dict[str, float]) -> bool:
        asked.append(step)
        return False

    training = SHORT.model_copy(update={"max_steps": 4})
    train_model(
        formatted=formatted, base_location=base, out=tmp_path, model=LORA, training=training,
        should_stop=never,
    )  # fmt: skip
    assert asked == []


def test_it_is_an_error_of_the_run() -> None:
    assert issubclass(TrainingStopped, RunError)
