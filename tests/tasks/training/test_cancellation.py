"""A training that is told to end saves first, where there is time, and goes on exactly."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tasks.records.observer import SilentObserver
from tasks.training.cancellation import Cancellation
from tasks.training.stopping import TrainingStopped

from .conftest import LORA, TRAINING
from .test_train import change, read_history, run

MODEL = change(LORA, lora_dropout=0.1)
SLOW_LOGS = change(TRAINING, eval_steps=10, logging_steps=5, early_stopping_patience=None)


class ToldToEnd(BaseException):
    """What the command line's or Prefect's handler raises."""


def raise_told(*_: object) -> None:
    raise ToldToEnd


class Sender(SilentObserver):
    """Sends SIGTERM to this process after an optimiser step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def report_progress(self, done: int, total: int, unit: str) -> None:
        if done == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def handler() -> object:
    previous = signal.signal(signal.SIGTERM, raise_told)
    yield
    assert signal.getsignal(signal.SIGTERM) is raise_told
    signal.signal(signal.SIGTERM, previous)


def test_saves_its_step_and_goes_on_to_the_last_digit(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    whole = run(formatted, base, tmp_path / "whole", MODEL, SLOW_LOGS)
    out = tmp_path / "told"
    with pytest.raises(ToldToEnd):
        run(formatted, base, out, MODEL, SLOW_LOGS, observer=Sender(13))
    assert (out / "checkpoints" / "checkpoint-13").is_dir()
    assert not (out / "model").exists()
    again = run(formatted, base, out, MODEL, SLOW_LOGS)
    assert read_history(again) == read_history(whole)
    name = "adapter_model.safetensors"
    assert (out / "model" / name).read_bytes() == (tmp_path / "whole/model" / name).read_bytes()


def test_without_time_the_last_checkpoint_stands(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    hurried = change(SLOW_LOGS, grace_seconds=0.0)
    with pytest.raises(ToldToEnd):
        run(formatted, base, tmp_path, MODEL, hurried, observer=Sender(13))
    steps = sorted(p.name for p in (tmp_path / "checkpoints").glob("checkpoint-*"))
    assert steps == ["checkpoint-10"]


def tell_to_end(cancellation: Cancellation, times: int) -> None:
    """Send SIGTERM in the middle of a step that never ends."""
    with cancellation.listen():
        cancellation.on_step_begin(None, None, None)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()


def test_a_step_that_hangs_does_not_outlast_the_grace() -> None:
    with pytest.raises(ToldToEnd):
        tell_to_end(Cancellation(grace_seconds=0.2), times=1)


def fail_after_signal(cancellation: Cancellation) -> None:
    """Run out of memory, which another attempt would follow, after a SIGTERM."""
    with cancellation.listen():
        cancellation.on_step_begin(None, None, None)
        os.kill(os.getpid(), signal.SIGTERM)
        raise MemoryError


def test_an_error_after_the_signal_does_not_lose_it() -> None:
    with pytest.raises(ToldToEnd):
        fail_after_signal(Cancellation(grace_seconds=3600))


def test_a_handler_that_lets_it_pass_does_not_make_a_part_the_result(
    base: Path, formatted: Path, tmp_path: Path
) -> None:
    heard: list[object] = []
    previous = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with pytest.raises(TrainingStopped):
            run(formatted, base, tmp_path, MODEL, SLOW_LOGS, observer=Sender(13))
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert heard == [1]
    assert (tmp_path / "checkpoints" / "checkpoint-13").is_dir()
    assert not (tmp_path / "model").exists()


def test_a_second_signal_ends_at_once() -> None:
    with pytest.raises(ToldToEnd):
        tell_to_end(Cancellation(grace_seconds=3600), times=2)
