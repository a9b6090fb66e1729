"""Processes that outlive the command that started them: recorded, recognised, and stopped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tasks.records.handles import Record
from tasks.records.home import find_project

SECONDS_TO_STOP = 30.0
_KEPT: list[subprocess.Popen[bytes]] = []  # Python warns when one is forgotten that still runs


class StartedProcess(Record):
    """A process that was started, so that it is known again."""

    name: str
    pid: int
    created: float
    """When it began, in seconds since the machine's start, which no change of the clock moves:
    another process of the same number began at another time."""
    address: str
    """What a person opens or sets; empty where there is nothing."""
    log: str


def start_process(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    address: str = "",
    folder: Path | None = None,
) -> StartedProcess:
    """Start a process in a session of its own: no terminal's end, and no Ctrl-C, reaches it.

    Args:
        name: Its name.
        command: What starts it.
        environment: Its whole environment.
        log: Its output is added there.
        address: What a person opens or sets.
        folder: Its current folder; hone's clone by default.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=folder or find_project(), env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    _KEPT.append(process)
    created = read_birth(psutil.Process(process.pid))
    return StartedProcess(
        name=name, pid=process.pid, created=created, address=address, log=str(log)
    )


def read_birth(process: psutil.Process) -> float:
    """Return when a process began, in seconds since the machine's start.

    Raises:
        psutil.NoSuchProcess: It has ended.
    """
    return float(process.create_time() - psutil.boot_time())


def find_process(started: StartedProcess) -> psutil.Process | None:
    """Return the process if it still is the one that was started, and runs."""
    try:
        process = psutil.Process(started.pid)
        is_same = abs(read_birth(process) - started.created) < 0.01
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def stop_process(started: StartedProcess, seconds: float = SECONDS_TO_STOP) -> bool:
    """Stop a process that was started, and what it started; return whether it still ran."""
    process = find_process(started)
    if process is not None:
        stop_tree(process.pid, seconds)
    return process is not None


def stop_tree(pid: int, seconds: float = SECONDS_TO_STOP) -> None:
    """Ask a process to end, wait, and kill what is left of it and of what it started.

    Only the process itself is asked: it ends its own in the order that it knows.
    """
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
        root.terminate()
    except psutil.NoSuchProcess:
        return
    psutil.wait_procs(family[:1], timeout=seconds)
    _, left = psutil.wait_procs(family, timeout=1)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=5)


def read_log_end(log: Path, characters: int = 800) -> str:
    """Return the last words of a log."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return os.linesep.join(text.strip().splitlines()[-12:])[-characters:]
