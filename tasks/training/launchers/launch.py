"""The one way to start a training, wherever it runs."""

from __future__ import annotations

import gc

import torch

from configs.errors import RequestError
from configs.schema import TrainingConfig
from tasks.records.observer import Observer
from tasks.training.devices import count_gpus, detect_device
from tasks.training.launchers.request import TrainingRequest
from tasks.training.result import TrainingResult
from tasks.training.shared_base import release_base
from tasks.training.stopping import ShouldStop, TrainingStopped
from tasks.training.train import train_model


class StoppingObserver:
    """An observer that ends a training of other processes when somebody wants no more of it.

    Args:
        observer: Gets everything.
        should_stop: Asked after each validation but the last.
    """

    def __init__(self, observer: Observer, should_stop: ShouldStop) -> None:
        self._observer = observer
        self._should_stop = should_stop
        self._total = 0
        self.report_text = observer.report_text

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Hand the progress on."""
        self._total = total
        self._observer.report_progress(done, total, unit)

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Hand the metrics on, and ask.

        Raises:
            TrainingStopped: The answer was yes.
        """
        self._observer.report_metrics(metrics, step)
        is_asked = "eval_loss" in metrics and step < self._total
        if is_asked and self._should_stop(step, metrics):
            message = "the training was stopped from outside"
            raise TrainingStopped(where=f"step {step}", message=message)


def launch_training(
    request: TrainingRequest, observer: Observer, should_stop: ShouldStop | None = None
) -> TrainingResult:
    """Train in this process or in others; the result is the same kind of folder and record.

    Args:
        request: What to train.
        observer: Gets progress, metrics and sample generations.
        should_stop: Asked after each validation but the last.

    Raises:
        TrainingStopped: `should_stop` said so.
        RequestError: As `train_model`; or there are fewer devices than are asked for.
        RunError: As `train_model`; or a process died more often than it is started again.
    """
    launcher = choose_launcher(request.training)
    if launcher == "process":
        return train_model(**request.to_arguments(), observer=observer, should_stop=should_stop)
    if should_stop:
        observer = StoppingObserver(observer, should_stop)
    _free_device()
    if launcher == "ray":
        from tasks.training.launchers.ray import train_with_ray

        return train_with_ray(request, observer)
    from tasks.training.launchers.torchrun import train_with_torchrun

    check_devices(request.training)
    return train_with_torchrun(request, observer)


def choose_launcher(training: TrainingConfig) -> str:
    """Return the launcher that `auto` stands for, or the one that is named."""
    if training.launcher != "auto":
        return training.launcher
    return "torchrun" if training.num_gpus > 1 else "process"


def _free_device() -> None:
    """Give up the base weights that stages share: the processes need the device's memory."""
    release_base()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def check_devices(training: TrainingConfig) -> None:
    """Refuse more devices than this host has; processors are shared by any number of processes.

    Raises:
        RequestError: Naming both numbers.
    """
    device = detect_device()
    if device.kind == "cpu":
        return
    found = count_gpus() if device.kind == "cuda" else 1
    if training.num_gpus > found:
        raise RequestError(
            where="training.num_gpus",
            message=f"{training.num_gpus} devices are asked for, and this host has {found} "
            f"({device.name})",
            allowed=f"1 to {found}",
            hint="training.launcher=ray uses those of several hosts",
        )
