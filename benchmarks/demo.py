"""What a newcomer waits for: the demo, the same run again, and what of it is overhead.

Run: python -m benchmarks.demo [--json] [--preset tiny]
Each run is a process of its own, as a user starts it, in a HONE_HOME that is empty at first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from configs.load import load_config
from tasks.records.home import find_project
from tasks.records.writing import read_json

# Imported when the process ends: what it has loaded, on the last line of stderr.
REPORT_MODULES = """
import atexit, sys
atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))
from flows.cli import main
main()
"""


def run_once(home: Path, preset: str, *options: str) -> dict[str, Any]:
    """Run hone as a process; return its result with its exit code, wall time and imports."""
    command = [sys.executable, "-c", REPORT_MODULES, "run", preset, "--json", *options]
    started = time.monotonic()
    done = subprocess.run(
        command,
        env=os.environ | {"HONE_HOME": str(home), "OMP_NUM_THREADS": "1"},
        cwd=find_project(),
        capture_output=True,
        text=True,
        check=False,
    )
    wall_seconds = time.monotonic() - started
    if done.returncode not in {0, 2}:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result | {
        "exit_code": done.returncode,
        "wall_seconds": wall_seconds,
        "imports_torch": done.stderr.splitlines()[-1] == "True",
    }


def sum_work_seconds(home: Path, result: dict[str, Any]) -> float:
    """Return the seconds of training steps, validations, and of scoring and generating answers."""
    run = home / result["run_dir"]
    seconds = 0.0
    for arm in sorted((run / "predictions").iterdir()):
        if f"evaluate-{arm.name}" in result["reused"]:
            continue
        timing = read_json(arm.resolve().parent / "timing.json")
        seconds += timing["nll_seconds"] + timing["generation_seconds"]
    handles = read_json(run / "manifest.json")["handles"]
    epochs = load_config(str(run / "config.yaml")).training.num_train_epochs
    num_tokens = handles["format"]["splits"]["train"]["tokens"] * epochs
    trained = handles["train"]["metrics"]
    steps_seconds = num_tokens / trained["tokens_per_second"]
    return float(seconds + steps_seconds + trained["validation_seconds"])


def measure(preset: str) -> dict[str, Any]:
    """Measure a first run, the same again, one that trains nothing, and three of other models."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        first = run_once(home, preset)
        again = run_once(home, preset)
        nothing = run_once(home, preset, "--set", "training.learning_rate=0")
        # Other models in a HONE_HOME whose databases exist: trained, evaluated and published.
        warm = [run_warm(home, preset, seed) for seed in (43, 44, 45)]
        return {
            "first": summarize(first),
            "again": summarize(again),
            "learning_rate_0": summarize(nothing),
            "warm": warm,
            "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        }


def run_warm(home: Path, preset: str, seed: int) -> dict[str, Any]:
    """Measure a run of which only the data and the baseline are in the cache."""
    options = ("--set", f"training.seed={seed}", "--set", f"publish.name=seed-{seed}")
    result = run_once(home, preset, *options)
    work_seconds = sum_work_seconds(home, result)
    return summarize(result) | {
        "work_seconds": round(work_seconds, 1),
        "overhead_seconds": round(result["wall_seconds"] - work_seconds, 1),
    }


def summarize(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the figures are about."""
    metrics = result["metrics"]
    return {
        "wall_seconds": round(result["wall_seconds"], 1),
        "seconds": result["seconds"],
        "exit_code": result["exit_code"],
        "verdict": result["verdict"],
        "version": (result["publication"] or {}).get("version"),
        "reused": result["reused"],
        "imports_torch": result["imports_torch"],
        "exact_match": {arm: metrics[arm]["test"]["exact_match"] for arm in metrics},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--preset", default="tiny")
    arguments = parser.parse_args()
    figures = measure(arguments.preset)
    print(json.dumps(figures, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
