"""A step that hangs ends the process; slow but steady ones, validations and checkpoints do not."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from transformers import TrainerControl, TrainerState

from tasks.training.watchdog import Watchdog

HANG = """
import time
from transformers import TrainerControl, TrainerState
from tasks.training.watchdog import Watchdog
watchdog = Watchdog(least_seconds=0.4)
watchdog.on_train_begin(None, TrainerState(), None)
for step in range(5):
    time.sleep(0.02)
    watchdog.on_step_end(None, TrainerState(global_step=step + 1), TrainerControl())
time.sleep(60)
"""


def test_a_step_that_hangs_ends_the_process_and_says_where() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANG], check=False, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 1
    assert "no optimiser step ended" in done.stderr
    assert "after step 5" in done.stderr
    assert "most recent call first" in done.stderr


def test_patience_grows_with_the_median_step(monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog, now = Watchdog(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watchdog.on_prediction_step(None, None, None)
    assert watchdog.patience_seconds == 600
    for step, seconds in enumerate([900.0, 60.0, 60.0], 1):
        now[0] += seconds
        watchdog.on_step_end(None, TrainerState(global_step=step), TrainerControl())
    assert watchdog.patience_seconds == 1200
    now[0] += 5000
    watchdog.on_prediction_step(None, None, None)  # neither is a row of a long validation
    now[0] += 1000
    watchdog.on_save(None, None, None)  # nor a slow checkpoint
    now[0] += 60
    watchdog.on_step_end(None, TrainerState(global_step=4), TrainerControl())
    assert watchdog.patience_seconds == 1200


def test_a_checkpoint_gets_an_hour() -> None:
    watchdog = Watchdog()
    assert watchdog.patience_seconds == 600
    watchdog.on_step_end(None, TrainerState(global_step=1), TrainerControl(should_save=True))
    assert watchdog.patience_seconds == 3600
    watchdog.on_step_begin(None, None, None)
    assert watchdog.patience_seconds == 600
    watchdog.on_prediction_step(None, None, None)
    assert watchdog.patience_seconds == 600
    watchdog.on_evaluate(None, None, None)  # a new best may be saved now
    assert watchdog.patience_seconds == 3600
