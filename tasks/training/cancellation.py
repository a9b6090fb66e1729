"""Ending a training that is told to end: its step is done and saved first, when time allows it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from transformers import TrainerCallback

from tasks.training.ranks import count_ranks, is_any, is_first
from tasks.training.stopping import TrainingStopped

LOG = logging.getLogger("hone")
STOP_FILE = "launch/stop"
"""In the folder of the result, where a launcher has no signal for its processes."""


class Cancellation(TrainerCallback):  # type: ignore[misc]
    """Answers SIGTERM: a spot instance that goes, Slurm's time limit, a cancel in Prefect.

    The handler that was there before (the command line's, Prefect's) is asked at the end, so a run
    ends in the way that its surroundings expect; only the moment is ours.

    Args:
        grace_seconds: Time for the step and the checkpoint together.
        stop_file: A file whose coming tells several processes to end as well.
    """

    def __init__(self, grace_seconds: float, stop_file: Path | None = None) -> None:
        self.grace_seconds = grace_seconds
        self.stop_file = stop_file
        self.is_requested = False
        self.save_seconds = 0.0
        self._step_seconds = 0.0
        self._step_began: float | None = None
        self._previous: Any = None

    def request(self, *_: Any) -> None:
        """Have the training saved after this step, or end at once where that takes too long."""
        needed = self._step_seconds + self.save_seconds
        if self.is_requested and count_ranks() > 1:
            return  # told by the launcher and by the surroundings (Slurm tells every process)
        if self.is_requested or needed > self.grace_seconds or self._step_began is None:
            self.give_up()
            return
        self.is_requested = True
        LOG.warning("told to end: the training saves after this step")
        # A step that hangs must not outlast the grace: what is there then is the last checkpoint.
        signal.signal(signal.SIGALRM, self.give_up)
        signal.setitimer(signal.ITIMER_REAL, max(self.grace_seconds, 0.1))

    def give_up(self, *_: Any) -> None:
        """End now, as the surroundings do it."""
        LOG.warning("told to end: the last checkpoint stands")
        self.deliver()

    def deliver(self) -> NoReturn:
        """Hand the signal on to the handler that was there before.

        Raises:
            TrainingStopped: That let it pass: a part of a training must not count as the whole.
        """
        self.is_requested = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, self._previous)
        signal.raise_signal(signal.SIGTERM)
        raise TrainingStopped("the training was told to end; the same run goes on from its step")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Begin to measure a step."""
        self._step_began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Measure the step; ask for the checkpoint and the end where they are wanted."""
        if self._step_began is not None:
            self._step_seconds = time.monotonic() - self._step_began
        if count_ranks() > 1 and is_first() and self.stop_file and self.stop_file.exists():
            self.is_requested = True
        if is_any(self.is_requested):  # all processes save the same step
            self.is_requested = True
            control.should_save = True
            control.should_training_stop = True

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Answer SIGTERM inside the block; hand it on after it, where it came."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals belong to the main thread
            if self.is_requested:
                raise TrainingStopped("the training was told to end, and saved its last step")
            return
        self._previous = signal.getsignal(signal.SIGTERM)
        alarm = signal.getsignal(signal.SIGALRM)
        signal.signal(signal.SIGTERM, self.request)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
            signal.signal(signal.SIGTERM, self._previous)
            if self.is_requested:  # also after an error, which another attempt may follow
                self.deliver()
