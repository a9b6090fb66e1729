"""A watchdog over the training loop: a step that hangs ends the process, which can run again."""

from __future__ import annotations

import faulthandler
import logging
import os
import statistics
import sys
import threading
import time
from typing import Any

from transformers import TrainerCallback

LOG = logging.getLogger("hone")
LEAST_SECONDS = 600.0
SAVING_SECONDS = 3600.0  # full weights and their optimiser, on a slow shared disk
TIMES_THE_MEDIAN = 20
MEASURED_STEPS = 200
SECONDS_BETWEEN_LOOKS = 5.0


class Watchdog(TrainerCallback):  # type: ignore[misc]
    """Ends the process when no optimiser step ends for max(10 minutes, 20 x the median step).

    A hung kernel or collective never returns to Python, so no exception can end it; heartbeats go
    on meanwhile, because they come from a thread. The process ends with exit code 1, with where
    each thread stands on stderr; the same run goes on from its last checkpoint. A checkpoint gets
    an hour: ended in the middle, it would be begun again and again.

    Args:
        least_seconds: Time that every step gets.
    """

    def __init__(self, least_seconds: float = LEAST_SECONDS) -> None:
        self.least_seconds = least_seconds
        self.seconds_between_looks = min(SECONDS_BETWEEN_LOOKS, least_seconds / 4)
        self._durations: list[float] = []
        self._last_sign = time.monotonic()
        self._step = 0
        self._may_save = False
        self._ended = threading.Event()

    @property
    def patience_seconds(self) -> float:
        """How long the step at hand may take, or the checkpoint after it."""
        if self._may_save:
            return max(self.least_seconds, SAVING_SECONDS)
        median = statistics.median(self._durations) if self._durations else 0.0
        return max(self.least_seconds, TIMES_THE_MEDIAN * median)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Begin to watch."""
        self._last_sign = time.monotonic()
        self._ended.clear()
        threading.Thread(target=self._watch, name="training-watchdog", daemon=True).start()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Note that nothing is being saved."""
        self._may_save = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Take the step as a sign of life."""
        self._may_save = control.should_save
        now = time.monotonic()
        self._durations = [*self._durations[1 - MEASURED_STEPS :], now - self._last_sign]
        self._step = state.global_step
        self._last_sign = now

    def on_prediction_step(
        self,
        args: Any,  # noqa: ARG002 - transformers' signature
        state: Any,  # noqa: ARG002
        control: Any,  # noqa: ARG002
        **_: Any,
    ) -> None:
        """Take a row of a validation as a sign of life: a large split takes long."""
        self._may_save = False
        self._last_sign = time.monotonic()

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Take a validation as a sign of life, and as no step; a new best is saved after it."""
        self._may_save = True
        self._last_sign = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Take a checkpoint as a sign of life, and as no step."""
        self._last_sign = time.monotonic()

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self.seconds_between_looks):
            idle = time.monotonic() - self._last_sign
            if idle > self.patience_seconds:
                LOG.error(
                    "no optimiser step ended for %.0f s after step %d; this process ends, and the "
                    "same run goes on from its last checkpoint", idle, self._step,
                )  # fmt: skip
                faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
                os._exit(1)
