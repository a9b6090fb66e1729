"""Ending a training before its last step, because somebody outside finds that it will not do."""

from __future__ import annotations

from collections.abc import Callable

from configs.errors import RunError

ShouldStop = Callable[[int, dict[str, float]], bool]
"""Asked after each validation but the last, with the step and its metrics."""


class TrainingStopped(RunError):  # noqa: N818 - it says what happened
    """A training was stopped from outside; its result is not that of a whole training."""
