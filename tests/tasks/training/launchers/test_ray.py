"""Two workers of a local Ray cluster train as one process does, and go on where they stopped."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from tasks.training.launchers.launch import launch_training
from tests.tasks.training.launchers.test_torchrun import ONE, TWO, check_same, make_request
from tests.tasks.training.test_train import Recorder, change

pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: make install EXTRAS=ray"
)
RAY = change(TWO, launcher="ray")


class AtStep(Recorder):
    """Does something after an optimiser step, once."""

    def __init__(self, step: int, act: Callable[[], Any]) -> None:
        super().__init__()
        self.step, self.act = step, act
        self.is_done = False

    def report_progress(self, done: int, total: int, unit: str) -> None:
        super().report_progress(done, total, unit)
        if done >= self.step and not self.is_done:
            self.is_done = True
            self.act()


class ToldToEnd(BaseException):
    """What the command line's or Prefect's handler raises."""


def tell() -> None:
    raise ToldToEnd


def list_steps(out: Path) -> list[int]:
    folders = (out / "checkpoints").glob("checkpoint-*")
    return sorted(int(path.name.split("-")[1]) for path in folders)


@pytest.mark.slow
def test_two_workers_train_save_and_go_on(
    base: Path, formatted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = launch_training(make_request(formatted, base, tmp_path / "one", ONE), Recorder())
    out = tmp_path / "ray"
    request = make_request(formatted, base, out, RAY)
    with pytest.raises(ToldToEnd):
        launch_training(request, AtStep(12, tell))
    saved = list_steps(out)[-1]
    assert saved in range(12, 22)
    observer = Recorder()
    with caplog.at_level(logging.INFO, "hone"):
        result = launch_training(request, observer)
    assert f"steps {saved + 1} to 22" in caplog.text
    check_same(result, one)
    assert observer.progress[-1] == (22, 22, "step")
    assert not (out / "launch").exists()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.slow
def test_the_error_of_a_worker_is_ours(base: Path, formatted: Path, tmp_path: Path) -> None:
    request = make_request(formatted, base, tmp_path, change(RAY, max_length=2))
    with pytest.raises(RequestError, match="max_length"):
        launch_training(request, Recorder())
