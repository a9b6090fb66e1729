"""Jobs that go on when whoever started them is gone: how a remote host runs hone over SSH.

Run: python -m deployments.detached start NAME -m MODULE ... | follow NAME | stop NAME | busy
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from configs.errors import RequestError, RunError
from deployments.command_line import run_command, say
from deployments.processes import StartedProcess, find_process, start_process, stop_process
from tasks.records.home import find_home
from tasks.records.locks import hold_lock
from tasks.records.writing import read_json, write_json, write_text

SECONDS_BETWEEN_LOOKS = 0.5
BUFFER_BYTES = 1 << 16


def find_folder() -> Path:
    """Return where jobs have their records and logs."""
    return find_home() / ".services" / "jobs"


def find_job(name: str) -> StartedProcess | None:
    """Return the newest job of a name, running or ended; None where there was none."""
    path = find_folder() / f"{name}.json"
    return StartedProcess.model_validate(read_json(path)) if path.is_file() else None


def start_job(name: str, command: Sequence[str]) -> StartedProcess:
    """Start a job in a process session of its own, unless the one of this name still runs.

    Args:
        name: The job's name.
        command: What Python is called with.

    Raises:
        RequestError: It still runs, with another command.
    """
    folder = find_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder / f"{name}.lock", f"the start of {name}"):
        asked = folder / f"{name}.command.json"
        running = find_job(name)
        if running and find_process(running):
            if read_json(asked) != list(command):
                raise RequestError(
                    message=f"{name} is at work on something else: {' '.join(read_json(asked))}",
                    hint="wait for its end (make remote-logs), or stop it (make remote-stop)",
                )
            return running
        write_json(asked, list(command))
        for ending in (".exit", ".log"):
            (folder / f"{name}{ending}").unlink(missing_ok=True)
        job = start_process(
            name, [sys.executable, "-m", "deployments.detached", "run", name, *command],
            os.environ, folder / f"{name}.log", folder=Path.cwd(),
        )  # fmt: skip
        write_json(folder / f"{name}.json", job.model_dump())
    return job


def run_job(name: str, command: Sequence[str]) -> int:
    """Run a job's command, and leave its exit code where the next connection finds it."""
    process = subprocess.Popen([sys.executable, *command], stdin=subprocess.DEVNULL)
    # Who stops the job asks this process; a training has to hear of it, and saves.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    code = code if code >= 0 else 128 - code
    write_text(find_folder() / f"{name}.exit", str(code))
    return code


def follow_job(name: str, lines: int, *, until_end: bool) -> int:
    """Print a job's log, from its last lines on; return its exit code, or 0 while it goes on.

    Raises:
        RequestError: There is no such job.
        RunError: It was killed.
    """
    job = find_job(name)
    if job is None:
        known = sorted(path.stem for path in find_folder().glob("*.log"))
        raise RequestError(
            message=f"no job {name!r}", where="NAME", allowed=", ".join(known) or "none yet"
        )
    log = Path(job.log)
    with log.open("rb") as file:
        text = file.read()
        _print(b"".join(text.splitlines(keepends=True)[-lines:]))
        while until_end and find_process(job):
            _print(file.read(BUFFER_BYTES))
            time.sleep(SECONDS_BETWEEN_LOOKS)
        _print(file.read())
    if find_process(job):
        return 0
    ended = find_folder() / f"{name}.exit"
    if not ended.is_file():
        raise RunError(message=f"{name} was killed", where=job.log, hint="start it again")
    return int(ended.read_text(encoding="utf-8"))


def _print(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def stop_job(name: str) -> None:
    """Stop a job and what it started."""
    job = find_job(name)
    was_running = bool(job and stop_process(job, seconds=90))
    say(f"{name}: {'stopped' if was_running else 'was not running'}")


def refuse_if_busy() -> None:
    """Refuse what would take the sources away from under a job.

    Raises:
        RequestError: A job runs.
    """
    for path in sorted(find_folder().glob("*.command.json")):
        name = path.name.removesuffix(".command.json")
        job = find_job(name)
        if job and find_process(job):
            raise RequestError(
                message=f"{name} is at work here (process {job.pid})",
                hint=f"wait for its end, or stop it: make remote-stop NAME={name}",
            )


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked; return the exit code, of the job where it has ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="what", required=True)
    for what in ("start", "run"):
        action = actions.add_parser(what)
        action.add_argument("name")
        action.add_argument("command", nargs=argparse.REMAINDER)
    follow = actions.add_parser("follow")
    follow.add_argument("name")
    follow.add_argument("--lines", type=int, default=100, help="of the log that are shown first")
    follow.add_argument("--no-wait", action="store_true", help="do not wait for the job's end")
    actions.add_parser("stop").add_argument("name")
    actions.add_parser("busy")
    found = parser.parse_args(arguments)
    if found.what == "run":
        return run_job(found.name, found.command)
    codes = [0]

    def command() -> None:
        if found.what == "start":
            job = start_job(found.name, found.command)
            say(f"{found.name}: process {job.pid}, log {job.log}")
        elif found.what == "stop":
            stop_job(found.name)
        elif found.what == "busy":
            refuse_if_busy()
        else:
            codes[0] = follow_job(found.name, found.lines, until_end=not found.no_wait)

    return run_command(command) or codes[0]


if __name__ == "__main__":
    sys.exit(main())
