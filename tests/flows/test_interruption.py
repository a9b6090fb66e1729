"""Runs that are cancelled or killed: the same command goes on from the last checkpoint."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.flows.running import list_runs, list_versions, run_hone, start_hone, stop_when

LONG = (
    "--set", "training.max_steps=240", "--set", "training.eval_steps=20",
    "--set", "training.early_stopping_patience=null", "--set", "training.learning_rate=2e-3",
)  # fmt: skip


def test_a_run_that_was_cancelled_and_killed_publishes_once(
    warm_home: Path, server: str, preset: Path
) -> None:
    command = ("run", str(preset), *LONG, "--json")

    def count_checkpoints() -> int:
        return len(list(warm_home.glob("cache/train/*/checkpoints/checkpoint-*")))

    first = start_hone(warm_home, *command, PREFECT_API_URL=server)
    cancelled = stop_when(first, warm_home, lambda: count_checkpoints() > 0, signal.SIGINT)
    assert cancelled.code == 130
    assert cancelled.stdout == ""
    assert "the same command goes on" in cancelled.stderr
    assert "Traceback" not in cancelled.stderr

    second = start_hone(warm_home, *command, PREFECT_API_URL=server)
    started = len(list_runs(warm_home))
    log = warm_home / "cache"
    killed = stop_when(
        second, warm_home, lambda: len(list_runs(warm_home)) > started and log.exists(), signal.SIGKILL
    )
    assert killed.code == -signal.SIGKILL

    last = run_hone(warm_home, *command, PREFECT_API_URL=server)
    assert last.code == 0, last.stderr
    assert "resum" in last.stderr
    assert last.result["publication"]["version"] == "1"
    assert list_versions(warm_home) == ["1"]
