"""Runs that are cancelled or killed: the same command goes on from the last checkpoint."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.flows.running import list_versions, run_hone, start_hone, stop_when

LONG = (
    "--set", "training.max_steps=100", "--set", "training.eval_steps=20",
    "--set", "training.early_stopping_patience=null", "--set", "training.num_sample_generations=0",
)  # fmt: skip


@pytest.mark.long
@pytest.mark.slow
def test_a_run_that_was_cancelled_and_killed_goes_on_and_publishes_once(
    warm_home: Path, server: str, preset: Path
) -> None:
    command = ("run", str(preset), *LONG, "--json")

    def has_checkpoint(step: int) -> bool:
        return bool(list(warm_home.glob(f"cache/train/*/checkpoints/checkpoint-{step}")))

    process = start_hone(warm_home, *command, PREFECT_API_URL=server)
    cancelled = stop_when(process, warm_home, lambda: has_checkpoint(20), signal.SIGINT)
    assert cancelled.code == 130
    assert cancelled.stdout == ""
    assert "the same command goes on" in cancelled.stderr
    assert "Traceback" not in cancelled.stderr

    process = start_hone(warm_home, *command, PREFECT_API_URL=server)
    killed = stop_when(process, warm_home, lambda: has_checkpoint(40), signal.SIGKILL)
    assert killed.code == -signal.SIGKILL

    process = start_hone(warm_home, *command, PREFECT_API_URL=server)
    ended = stop_when(process, warm_home, lambda: has_checkpoint(60), signal.SIGTERM)
    assert ended.code == 128 + signal.SIGTERM
    assert "Traceback" not in ended.stderr

    last = run_hone(warm_home, *command, PREFECT_API_URL=server)
    assert last.code == 0, last.stderr
    assert "steps 1 to 100" not in last.stderr
    assert last.result["publication"]["version"] == "1"
    assert list_versions(warm_home) == ["1"]
