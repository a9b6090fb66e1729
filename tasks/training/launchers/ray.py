"""Processes on the hosts of a Ray cluster, or on this one, started and watched by Ray Train."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import HoneError, RunError
from tasks.records.extras import require_package
from tasks.records.observer import Observer
from tasks.training.cancellation import STOP_FILE
from tasks.training.devices import detect_device
from tasks.training.launchers.entry import train_rank
from tasks.training.launchers.events import EventReader
from tasks.training.launchers.outcome import (
    EVENTS,
    JOB,
    is_out_of_memory,
    read_error,
    read_result,
    record_error,
)
from tasks.training.launchers.request import TrainingRequest, write_request
from tasks.training.ranks import find_rank, name_backend
from tasks.training.result import TrainingResult

LOG = logging.getLogger("hone")
MAX_RESTARTS = 2
SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_TO_END = 10.0  # beyond the grace: of the workers, after their checkpoint
WHERE = "training.launcher"


def train_with_ray(request: TrainingRequest, observer: Observer) -> TrainingResult:
    """Train with the workers of a Ray cluster, again from the last checkpoint when one dies.

    The cluster is the one of RAY_ADDRESS; without it, one is started on this host for the time of
    the training. All its hosts see the request's folders under the same paths.

    Args:
        request: What to train.
        observer: Gets what the first worker reports.

    Raises:
        RequestError: Ray is not installed; or as `train_model`.
        RunError: As `train_model`; or a worker died more often than it is started again.
    """
    require_package("ray", where=WHERE, needed_for="ray")
    folder = request.out / Path(STOP_FILE).parent
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was interrupted
    folder.mkdir(parents=True)
    write_request(folder / JOB, request)
    reader = EventReader(folder / EVENTS, observer)
    with connect(request.training.num_gpus):
        num_crashes = 0
        while True:
            attempt = Attempt(folder.absolute(), request)
            attempt.follow(reader)
            if result := read_result(folder):
                shutil.rmtree(folder)
                return result
            if is_out_of_memory(folder):
                continue
            error, is_crash = explain_failure(folder, attempt.error)
            num_crashes += 1
            if not is_crash or num_crashes > MAX_RESTARTS:
                raise error
            LOG.warning("%s; training goes on from the last checkpoint", error.message)


@contextmanager
def connect(num_workers: int) -> Iterator[None]:
    """Be a client of the cluster inside the block; the reports that Ray sends home are off."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    address = os.environ.get("RAY_ADDRESS")
    variables = {"TOKENIZERS_PARALLELISM": "false"}
    options: dict[str, Any] = {"address": address}
    if address is None:
        loopback = "lo0" if sys.platform == "darwin" else "lo"
        variables |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
        options = {
            "address": "local",
            "num_cpus": num_workers + 1,  # however few there are: one for Ray's own controller
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
        }
    ray.init(
        **options,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": variables},
    )
    try:
        yield
    finally:
        ray.shutdown()


class Attempt:
    """One start of all workers, beside which this process follows what they report.

    Args:
        folder: Holds the request.
        request: What is trained.
    """

    def __init__(self, folder: Path, request: TrainingRequest) -> None:
        self.folder = folder
        self.training = request.training
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._fit, name="ray-train", daemon=True)

    def follow(self, reader: EventReader) -> None:
        """Wait for the end of all workers; told to end, have them save after their step."""
        for path in self.folder.glob("error-*"):
            path.unlink()
        self._thread.start()
        try:
            while self._thread.is_alive():
                self._thread.join(SECONDS_BETWEEN_LOOKS)
                reader.look()
        except BaseException:
            LOG.warning("ending the workers of the training, which save after their step")
            (self.folder / Path(STOP_FILE).name).touch()
            self._thread.join(self.training.grace_seconds + SECONDS_TO_END)
            raise
        finally:
            reader.look()

    def _fit(self) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        kind = detect_device().kind
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"folder": str(self.folder)},
            torch_config=TorchConfig(backend=name_backend(kind)),
            scaling_config=ScalingConfig(
                num_workers=self.training.num_gpus, use_gpu=kind == "cuda"
            ),
            run_config=RunConfig(
                name="ray",
                storage_path=str(self.folder),
                failure_config=FailureConfig(max_failures=0),  # restarts are ours
            ),
        )
        try:
            trainer.fit()
        except Exception as err:  # noqa: BLE001 - it belongs to the thread that waits
            self.error = err


def train_worker(config: dict[str, str]) -> None:
    """Do the part of one worker, whose process group Ray has set up.

    Args:
        config: `folder`, which holds the request.
    """
    folder = Path(config["folder"])
    with record_error(folder, find_rank()):
        train_rank(folder, detect_device())


def explain_failure(folder: Path, error: Exception | None) -> tuple[HoneError, bool]:
    """Return the error that ended the workers, and whether it is worth another attempt.

    Args:
        folder: Where they left what they know.
        error: What Ray says.
    """
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    from ray.exceptions import RayActorError

    dead = sorted(rank for rank, failure in failures.items() if isinstance(failure, RayActorError))
    if dead:
        return RunError(f"worker {dead[0]} of the training died", where=WHERE), True
    for rank in sorted(failures):
        if found := read_error(folder, rank):
            return found, False
    lines = tuple(str(error).splitlines())
    message = f"Ray ended without a result: {lines[-1] if lines else 'no reason given'}"
    return RunError(message, where=WHERE, problems=lines[-8:-1]), False
