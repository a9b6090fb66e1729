"""What happens beside the loop: logs at checkpoints, early stopping, progress and metrics out."""

from __future__ import annotations

import logging
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback

from tasks.records.observer import Observer
from tasks.training.stopping import ShouldStop, TrainingStopped

LOG = logging.getLogger("hone")


class LogAtCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Logs before each checkpoint: a resumed training starts a new average of the loss there."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Ask for a log when a checkpoint is due."""
        if control.should_save or control.should_evaluate:
            control.should_log = True


class StopEarly(EarlyStoppingCallback):  # type: ignore[misc]
    """Stops after some validations without improvement; its count survives in checkpoints."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say nothing: the best model is loaded by train_model, after checking its digests."""


class StopWhenAsked(TrainerCallback):  # type: ignore[misc]
    """Ends the training when somebody outside wants no more of it, as a pruned trial's sweep does.

    The loop ends as it always does, so that files are closed; then TrainingStopped keeps what was
    trained from being taken for a whole training.

    Args:
        should_stop: Asked after each validation but the last.
    """

    def __init__(self, should_stop: ShouldStop) -> None:
        self.should_stop = should_stop
        self.is_stopped = False

    def on_evaluate(
        self,
        args: Any,  # noqa: ARG002 - transformers' signature
        state: Any,
        control: Any,
        metrics: Any = None,
        **_: Any,
    ) -> None:
        """Ask, unless the training is over anyway."""
        if control.should_training_stop or state.global_step >= state.max_steps:
            return
        if self.should_stop(state.global_step, dict(metrics)):
            self.is_stopped = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Say that this was not the whole training.

        Raises:
            TrainingStopped: It was stopped.
        """
        if self.is_stopped:
            raise TrainingStopped(
                where=f"step {state.global_step}", message="the training was stopped from outside"
            )


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Hands progress and metrics to the observer and the log.

    Args:
        observer: What the task plugged in.
    """

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Report progress."""
        self.observer.report_progress(state.global_step, state.max_steps, "step")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Report metrics."""
        step = state.global_step
        self.observer.report_metrics(dict(logs), step)
        figures = " ".join(f"{name} {value:.4g}" for name, value in logs.items())
        LOG.info("step %d of %d: %s", step, state.max_steps, figures)
