"""A process whose run is over, or whose lock is taken away, ends itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

from tests.flows.running import ROOT, make_environment

FLOW = """
import sys, time
from pathlib import Path
from prefect import flow
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from flows.liveness import end_with_run
from tasks.records.locks import hold_lock

@flow
def wait():
    with end_with_run(seconds_between_looks=0.5), hold_lock(Path(sys.argv[1]), "an entry"):
        print(FlowRunContext.get().flow_run.id, flush=True)
        time.sleep(float(sys.argv[2]))

with temporary_settings({PREFECT_API_URL: sys.argv[3]}):
    wait()
"""


def start_flow(home: Path, server: str, seconds: float) -> tuple[subprocess.Popen[str], str]:
    """Start a flow that holds a lock and waits; return its process and the flow run's id."""
    process = subprocess.Popen(
        [sys.executable, "-c", FLOW, str(home / "entry.lock"), str(seconds), server],
        cwd=ROOT, env=make_environment(home, PREFECT_API_URL=""), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize("how", ["crashed", "lock"])
def test_ends_when_its_run_is_over_or_its_lock_is_gone(
    how: str, server: str, tmp_path: Path
) -> None:
    process, flow_run_id = start_flow(tmp_path, server, seconds=100)
    if how == "lock":
        (tmp_path / "entry.lock").unlink()
    else:
        with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run_id, Crashed(), force=True)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in {-signal.SIGTERM, 128 + signal.SIGTERM}
    expected = "entry.lock was taken away" if how == "lock" else "this flow run is Crashed"
    assert f"{expected}: this process ends" in errors


def test_a_run_that_lives_goes_on(server: str, tmp_path: Path) -> None:
    process, _ = start_flow(tmp_path, server, seconds=2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
