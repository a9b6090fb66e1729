"""What happens beside the loop: logs at checkpoints, early stopping, progress and metrics out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback

from tasks.records.observer import Observer

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


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Hands progress and metrics to the observer, TensorBoard and the log.

    Args:
        observer: What the task plugged in.
        logs: Folder of TensorBoard's files.
    """

    def __init__(self, observer: Observer, logs: Path) -> None:
        self.observer = observer
        self.logs = logs
        self.writer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Open TensorBoard's file; what an interrupted attempt logged after its checkpoint goes."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.logs), purge_step=state.global_step + 1, flush_secs=10)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Report progress."""
        self.observer.report_progress(state.global_step, state.max_steps, "step")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Report metrics."""
        step = state.global_step
        for name, value in logs.items():
            self.writer.add_scalar(_name_scalar(name), value, step)
        self.observer.report_metrics(dict(logs), step)
        figures = " ".join(f"{name} {value:.4g}" for name, value in logs.items())
        LOG.info("step %d of %d: %s", step, state.max_steps, figures)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Close TensorBoard's file."""
        self.writer.close()


def _name_scalar(name: str) -> str:
    """Return TensorBoard's tag, in one group for training and one for validation.

    >>> _name_scalar("eval_loss"), _name_scalar("loss")
    ('eval/loss', 'train/loss')
    """
    return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"
