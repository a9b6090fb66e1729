"""How the tests start hone: as a process of its own, on a small task that is learnt in seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 400  # a busy machine is several times slower than an idle one
HONE = [sys.executable, "-m", "flows.cli"]

THINGS = (
    "amber", "basil", "cedar", "daisy", "ember", "fern", "grape", "hazel", "iris", "jade", "kelp",
    "lemon", "maple", "nutmeg",
)  # fmt: skip
PLACES = (
    "box", "crate", "drawer", "hall", "jar", "locker", "shelf", "trunk", "attic", "cellar",
)  # fmt: skip
NUM_TEST_ROWS = 40

PRESET = """\
extends: tiny
purpose: A task that is learnt in seconds
data: {source: data, pattern: train.jsonl, group_by: null}
training: {max_steps: 20, num_sample_generations: 1}
evaluation: {max_new_tokens: 8}
publish: {name: small, num_probes: 4}
"""


@dataclass(frozen=True)
class Outcome:
    """How a hone process ended."""

    code: int
    stdout: str
    stderr: str
    home: Path

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object on stdout; anything beside it fails."""
        return dict(json.loads(self.stdout))


def make_row(question: str, answer: str = "Done.") -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def write_project(folder: Path) -> Path:
    """Write a preset and its data; return the preset."""
    rows = [make_row(f"Put {thing} in the {place}.") for place in PLACES for thing in THINGS]
    write_rows(folder / "data" / "train.jsonl", rows[NUM_TEST_ROWS:])
    write_rows(folder / "data" / "eval" / "test.jsonl", rows[:NUM_TEST_ROWS])
    preset = folder / "preset.yaml"
    preset.write_text(PRESET, encoding="utf-8")
    return preset


def make_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment in which hone knows no servers and writes into `home`."""
    foreign = ("PREFECT_", "MLFLOW_", "HONE_", "LAKEFS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {
        "HONE_HOME": str(home),
        "PREFECT_HOME": str(home / "no-profiles"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "200",
    }
    return kept | own | variables


def start_hone(
    home: Path, *arguments: str, command: Sequence[str] = HONE, **variables: str
) -> subprocess.Popen[str]:
    """Start hone; its working folder is beside HONE_HOME."""
    return subprocess.Popen(
        [*command, *arguments],
        cwd=home.parent,
        env=make_environment(home, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def end_hone(process: subprocess.Popen[str], home: Path) -> Outcome:
    """Wait for the end of a process."""
    try:
        stdout, stderr = process.communicate(timeout=SECONDS)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return Outcome(process.returncode, stdout, stderr, home)


def run_hone(home: Path, *arguments: str, **options: Any) -> Outcome:
    """Run hone to its end."""
    return end_hone(start_hone(home, *arguments, **options), home)


def stop_when(
    process: subprocess.Popen[str],
    home: Path,
    condition: Callable[[], bool],
    number: signal.Signals,
) -> Outcome:
    """Send a signal once the condition holds, and wait for the end."""
    try:
        wait_for(lambda: condition() or process.poll() is not None, "the moment to stop hone")
        assert process.poll() is None, f"hone has ended by itself: {process.communicate()[1]}"
        process.send_signal(number)
    except BaseException:
        process.kill()
        raise
    return end_hone(process, home)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def list_runs(home: Path) -> list[Path]:
    """Return the run folders, oldest first."""
    runs = home / "outputs" / "runs"
    return sorted(path for path in runs.glob("*") if path.name != "latest")


def list_versions(home: Path) -> list[str]:
    """Return the published versions of the model of `PRESET`."""
    return sorted(path.name for path in (home / "artifacts" / "models" / "small").glob("[0-9]*"))
