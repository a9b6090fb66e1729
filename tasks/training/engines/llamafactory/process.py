"""LLaMA-Factory as a child process, which ends with us; what goes wrong in it as our errors."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from configs.errors import HoneError, RequestError, RunError
from tasks.training.devices import Device

LOG = logging.getLogger("hone")
CHILD = Path(__file__).with_name("child.py")
SECONDS_BETWEEN_LOOKS = 0.5
LINES_SHOWN = 8
# Variables by which LLaMA-Factory would do something else than what its YAML says.
NOT_PASSED_ON = ("ALLOW_EXTRA_ARGS", "FORCE_TORCHRUN", "LLAMABOARD_ENABLED", "USE_MCA", "USE_RAY")
# Its own checks of the arguments, in a traceback.
CHECKS = ("in get_train_args", "in _parse_train_args", "in __post_init__")


def run_child(
    python: Path,
    settings: Path,
    log: Path,
    *,
    device: Device,
    is_local: bool,
    grace_seconds: float,
    look: Callable[[], None],
) -> None:
    """Train as the settings say, and wait for the end.

    When this process is told to end, so is the child: it saves after its step, or is killed after
    the grace. When this process is killed, the child ends by itself.

    Args:
        python: Of the environment in which LLaMA-Factory is installed.
        settings: Its YAML.
        log: Gets what it says.
        device: Where it trains; one device.
        is_local: Whether the base model is a folder, for which no network is needed.
        grace_seconds: Time to save when this process is told to end.
        look: Called twice a second, and once at the end.

    Raises:
        RequestError: Its own checks refuse the arguments.
        RunError: It failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(python), "-I", str(CHILD), str(settings), str(os.getpid())],
            cwd=settings.parent,
            env=make_environment(device, is_local=is_local),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C on the terminal is for us, who end it in order
        )
    try:
        while _is_running(process):
            look()
    finally:
        _end(process, grace_seconds)
        look()
    if process.returncode:
        raise explain_failure(process.returncode, log, start)


def make_environment(device: Device, *, is_local: bool) -> dict[str, str]:
    """Return the environment variables of the child: ours, one device, no telemetry."""
    found = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    visible = found.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    found |= {
        "CUDA_VISIBLE_DEVICES": visible if device.kind == "cuda" else "",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return found | ({"HF_HUB_OFFLINE": "1"} if is_local else {})


def explain_failure(code: int, log: Path, start: int) -> HoneError:
    """Return the error behind the exit code of a child.

    Args:
        code: The exit code; negative for a signal.
        log: What it said, of all attempts.
        start: Where this attempt begins in it, in bytes.
    """
    with log.open("rb") as file:
        file.seek(start)
        said = file.read().decode(errors="replace")
    lines = tuple(line for line in said.splitlines() if line.strip())
    if any(mark in said for mark in CHECKS):
        return RequestError(
            where="training.engine_args",
            message=f"LLaMA-Factory refuses its arguments: {lines[-1]}",
            hint=f"all that it said: {log}",
        )
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return RunError(
        where="training.engine",
        message=f"LLaMA-Factory {how}",
        hint=f"all that it said: {log}; run again: training goes on from the last checkpoint",
        problems=lines[-LINES_SHOWN:],
    )


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    """Wait a moment; return whether the process still runs."""
    try:
        process.wait(SECONDS_BETWEEN_LOOKS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """End the process, where it still runs; it has some time to save."""
    if process.poll() is not None:
        return
    LOG.warning("ending LLaMA-Factory, which saves after its step where time allows it")
    process.terminate()
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
