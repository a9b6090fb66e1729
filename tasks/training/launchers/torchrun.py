"""A process for each device of this host, started and watched by torchrun."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from configs.errors import HoneError, RunError
from tasks.records.observer import Observer
from tasks.records.writing import read_json
from tasks.training.cancellation import STOP_FILE
from tasks.training.launchers.agent import FAILURE
from tasks.training.launchers.events import EventReader
from tasks.training.launchers.outcome import EVENTS, JOB, is_out_of_memory, read_error, read_result
from tasks.training.launchers.request import TrainingRequest, write_request
from tasks.training.result import TrainingResult

LOG = logging.getLogger("hone")
CLONE = Path(__file__).resolve().parents[3]
MAX_RESTARTS = 2
SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_TO_END = 5.0  # beyond the grace: of the processes, after their checkpoint


def train_with_torchrun(request: TrainingRequest, observer: Observer) -> TrainingResult:
    """Train with several processes, again from the last checkpoint when one of them dies.

    When this process is told to end, so are they: they save after their step, or are killed after
    the grace. When this process is killed, they end by themselves.

    Args:
        request: What to train.
        observer: Gets what the first process reports.

    Raises:
        RequestError: As `train_model`.
        RunError: As `train_model`; or a process died more often than it is started again.
    """
    folder = request.out / Path(STOP_FILE).parent
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was interrupted
    folder.mkdir(parents=True)
    write_request(folder / JOB, request)
    reader = EventReader(folder / EVENTS, observer)
    log = request.out / "logs" / "torchrun.log"
    log.parent.mkdir(exist_ok=True)
    num_crashes = 0
    while True:
        run_agent(folder, log, request, reader.look)
        if result := read_result(folder):
            shutil.rmtree(folder)
            return result
        if is_out_of_memory(folder):
            continue
        error, is_crash = explain_failure(folder, log)
        num_crashes += 1
        if not is_crash or num_crashes > MAX_RESTARTS:
            raise error
        LOG.warning("%s; training goes on from the last checkpoint", error.message)


def run_agent(folder: Path, log: Path, request: TrainingRequest, look: Callable[[], None]) -> None:
    """Run torchrun to its end.

    Args:
        folder: Holds the request.
        log: Gets what the processes say.
        request: What is trained.
        look: Called several times a second, and once at the end.
    """
    for path in (*folder.glob("*.pid"), *folder.glob("error-*"), folder / FAILURE):
        path.unlink(missing_ok=True)
    training = request.training
    with log.open("ab") as output:
        process = subprocess.Popen(
            build_command(folder, training.num_gpus, training.grace_seconds),
            env=make_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C on the terminal is for us, who end it in order
        )
    try:
        while _is_running(process):
            look()
    finally:
        _end(process, folder, training.grace_seconds)
        look()


def build_command(folder: Path, num_processes: int, grace_seconds: float) -> list[str]:
    """Return the command line of torchrun with our entry point."""
    module = "tasks.training.launchers"
    options = ["--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={num_processes}"]
    # Restarts are ours: what must not be tried again is told from a crash by its error.
    options += ["--max-restarts=0", f"--shutdown-timeout={int(grace_seconds + SECONDS_TO_END)}"]
    agent = [sys.executable, "-m", f"{module}.agent", str(folder), str(os.getpid())]
    return [*agent, *options, "-m", f"{module}.entry", str(folder)]


def make_environment() -> dict[str, str]:
    """Return the environment variables of the processes, who talk on this host alone."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    paths = [str(CLONE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PYTHONPATH": os.pathsep.join(paths),
        "TOKENIZERS_PARALLELISM": "false",
    }


def explain_failure(folder: Path, log: Path) -> tuple[HoneError, bool]:
    """Return the error that ended the processes, and whether it is worth another attempt.

    Args:
        folder: Where they left what they know.
        log: What they said.
    """
    where, hint = "training.launcher", f"all that the processes said: {log}"
    if not (folder / FAILURE).is_file():
        return RunError("torchrun ended without a result", where=where, hint=hint), True
    failure = read_json(folder / FAILURE)
    rank, code = failure["rank"], failure["exit_code"]
    if code >= 0 and (error := read_error(folder, rank)):
        return error, False
    how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
    message = f"process {rank} of the training was {how}" if code < 0 else f"process {rank} {how}"
    return RunError(message, where=where, hint=hint), True


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    """Wait a moment; return whether the process still runs."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_BETWEEN_LOOKS)
    return process.returncode is None


def _end(process: subprocess.Popen[bytes], folder: Path, grace_seconds: float) -> None:
    """End the processes, where they still run; they have some time to save."""
    if process.poll() is not None:
        return
    LOG.warning("ending the processes of the training, which save after their step if time allows")
    ranks = [int(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.pid"))]
    # Told by torchrun, the processes that load their rows would be ended before them.
    for pid in ranks or [process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    try:
        process.wait(grace_seconds + SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()  # they see that it is gone
        process.wait()
