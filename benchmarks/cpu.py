"""The native engine against TRL, LLaMA-Factory and padding to 512: same examples, same losses.

Run: OMP_NUM_THREADS=1 python -m benchmarks.cpu [--json] [--steps N] [--repeats N]
     [--without llamafactory]
LLaMA-Factory's environment is made at first use (several GB), or named by HONE_LLAMAFACTORY.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import disable_progress_bars

from benchmarks.cpu_arms import BASE, PADDED_LENGTH, Task, list_arms, run_arm
from benchmarks.training_rows import format_rows, open_rows, read_preset
from configs.errors import HoneError
from tasks.training.engines.llamafactory.environment import VERSION, provide_python
from tasks.training.plan import plan_training

ARMS = ("trl", "trl_tuned", "llamafactory", "pad_512")
FIRST_STEPS = 3
LOGGING_STEPS = 10  # as hone and TRL do by default
TOLERANCE = 1e-4


def make_task(folder: Path, formatted: Path, steps: int, **training: Any) -> Task:
    """Return what all arms train for some steps."""
    config = read_preset(steps)
    changed = config.training.model_copy(update=training)
    split = open_rows(formatted)
    plan = plan_training(split.lengths, changed)
    return Task(formatted, BASE, config.model, changed, split, plan, folder / "out")


def find_llamafactory(without: set[str]) -> tuple[Path | None, str | None]:
    """Return the Python of LLaMA-Factory's environment, or why there is none."""
    if "llamafactory" in without:
        return None, "left out by --without"
    try:
        return provide_python(), None
    except HoneError as err:
        return None, str(err)


def measure(steps: int, repeats: int, without: set[str], folder: Path) -> dict[str, Any]:
    """Train with every arm, turn about, and compare times and losses."""
    formatted = format_rows(folder, PADDED_LENGTH)
    python, reason = find_llamafactory(without)
    arms = {name: arm for name, arm in list_arms(python).items() if name not in without}
    load_before = os.getloadavg()[0]
    first = make_task(folder, formatted, FIRST_STEPS, logging_steps=1)
    firsts = {name: run_arm(arm, first)["losses"] for name, arm in arms.items()}  # and warm-up
    task = make_task(folder, formatted, steps, logging_steps=LOGGING_STEPS)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, arm in arms.items():
            runs[name].append(run_arm(arm, task))
            assert runs[name][-1]["steps"] == steps
            seconds = round(runs[name][-1]["processor_seconds"], 2)
            print(f"{name}: {seconds} s of processor time", file=sys.stderr, flush=True)
    lasts = {name: found[-1]["losses"] for name, found in runs.items()}
    return {
        **compare_times(runs),
        "losses": {name: summarize_losses(firsts, lasts, name) for name in arms},
        "llamafactory_left_out": reason,
        "repeats": repeats,
        "setting": describe(task),
        "load_average_before": load_before,
        "load_average_after": os.getloadavg()[0],
        "versions": describe_versions(),
    }


def compare_times(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return our time divided by each other's, of processor time and of wall time.

    The ratio is taken between neighbours of one turn, and the median of the turns is shown. An
    arm that did not run has none.
    """

    def divide(kind: str) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for name in ARMS:
            pairs = zip(runs["native"], runs.get(name, []), strict=False)
            ratios = [ours[kind] / theirs[kind] for ours, theirs in pairs]
            found[name] = round(statistics.median(ratios), 3) if ratios else None
        return found

    def list_times(kind: str) -> dict[str, list[float]]:
        return {name: [round(run[kind], 2) for run in found] for name, found in runs.items()}

    return {
        "ratios": divide("processor_seconds"),
        "wall_ratios": divide("seconds"),
        "processor_seconds": list_times("processor_seconds"),
        "wall_seconds": list_times("seconds"),
    }


def summarize_losses(
    firsts: dict[str, dict[int, float]], lasts: dict[str, dict[int, float]], name: str
) -> dict[str, Any]:
    """Return the first and the last loss of an arm, and the largest difference from ours."""
    apart = max(abs(lasts[name][step] - loss) for step, loss in lasts["native"].items())
    return {
        "first": firsts[name][1],
        "last": lasts[name][max(lasts[name])],
        "same_first_step": abs(firsts[name][1] - firsts["native"][1]) <= TOLERANCE,
        "largest_difference": apart,
    }


def describe(task: Task) -> dict[str, Any]:
    """Return what was trained."""
    rows = task.rows
    lengths = [len(row) for row in rows["input_ids"]]
    trained = sum(label >= 0 for row in rows["labels"] for label in row)
    return {
        "steps": task.plan.num_steps,
        "examples_per_step": task.plan.examples_per_step,
        "packed_rows_per_step": task.plan.rows_per_step,
        "tokens_per_example": {
            "mean": round(statistics.mean(lengths), 1), "least": min(lengths), "most": max(lengths),
        },
        "trained_share": round(trained / sum(lengths), 3),
        "lora_r": task.model.lora_r,
        "learning_rate": task.training.learning_rate,
    }  # fmt: skip


def describe_versions() -> dict[str, str]:
    """Return what was measured, and on what."""
    names = ("torch", "transformers", "peft", "trl", "accelerate")
    return {name: version(name) for name in names} | {
        "llamafactory": VERSION,
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {torch.get_num_threads()} thread",
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps, at most an epoch's")
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many is shown")
    parser.add_argument("--without", nargs="*", default=[], choices=ARMS, help="arms to leave out")
    options = parser.parse_args()
    if options.steps % LOGGING_STEPS:
        parser.error(f"--steps must be a multiple of {LOGGING_STEPS}: losses are logged then")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    disable_progress_bars()
    warnings.simplefilter("ignore", FutureWarning)  # transformers' own, about names it renames
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.steps, options.repeats, set(options.without), Path(folder))
    sys.stdout.write(json.dumps(result, indent=None if options.json else 2) + "\n")


if __name__ == "__main__":
    main()
