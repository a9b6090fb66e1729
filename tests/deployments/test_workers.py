from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from configs.errors import RequestError, RunError
from deployments import workers
from deployments.gpus import list_gpus
from deployments.workers import Supervisor, Worker, plan_workers, set_limits
from tests.cluster import Cluster

LISTING = """\
GPU 0: NVIDIA H200 (UUID: GPU-aaaa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd)
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `nvidia-smi` that shows two GPUs, one of them in parts."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{LISTING}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


def test_every_gpu_of_the_driver_is_listed(driver: Path) -> None:
    assert list_gpus() == ["GPU-aaaa", "MIG-cccc", "MIG-dddd"]


@pytest.mark.parametrize(
    ("value", "expected"), [("", []), ("-1", []), ("2,0", ["2", "0"]), ("GPU-x", ["GPU-x"])]
)
def test_a_choice_of_the_environment_is_respected(
    value: str, expected: list[str], driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert list_gpus() == expected


def test_no_driver_is_no_gpu_and_a_broken_one_is_an_error(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.write_text("#!/bin/sh\necho No devices were found\nexit 6\n")
    assert list_gpus() == []
    driver.write_text("#!/bin/sh\necho driver/library version mismatch\nexit 18\n")
    with pytest.raises(RunError, match="ended with 18: driver/library version mismatch"):
        list_gpus()
    driver.unlink()
    assert list_gpus() == []


def test_each_gpu_has_a_worker_that_sees_no_other() -> None:
    planned = plan_workers(["gpu", "cpu"], ["GPU-a", "GPU-b"], "host")
    assert [(w.name, w.pool, w.limit) for w in planned] == [
        ("host-gpu-0", "gpu", 1),
        ("host-gpu-1", "gpu", 1),
        ("host-cpu", "cpu", 4),
    ]
    assert [w.variables["CUDA_VISIBLE_DEVICES"] for w in planned] == ["GPU-a", "GPU-b", ""]
    (whole,) = plan_workers(["gpu-host"], ["GPU-a", "GPU-b"], "host")
    assert (whole.limit, whole.variables) == (1, {})
    (fallback,) = plan_workers(["gpu"], [], "host")
    assert (fallback.name, fallback.limit) == ("host-gpu", 1)


@pytest.mark.parametrize(
    ("pools", "message"), [(["gpu", "gpu-host"], "same GPUs"), (["gpus"], "gpu, gpu-host, cpu")]
)
def test_pools_that_do_not_go_are_refused(pools: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        plan_workers(pools, [], "host")


def test_a_worker_that_dies_is_started_again_and_all_are_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "SECONDS_BETWEEN_STARTS", 0.1)
    started: list[subprocess.Popen[bytes]] = []
    stop = threading.Event()

    def start(worker: Worker) -> subprocess.Popen[bytes]:
        # The first one dies at once; the others have a child, as a worker has its runs.
        code = "raise SystemExit(7)" if not started else (
            "import subprocess as s, sys, time; s.Popen([sys.executable, '-c', 'import time; "
            "time.sleep(100)']); time.sleep(100)"
        )  # fmt: skip
        started.append(subprocess.Popen([sys.executable, "-c", code]))
        if len(started) == 2:
            threading.Timer(1, stop.set).start()
        return started[-1]

    begin = time.monotonic()
    Supervisor([Worker("host-gpu", "gpu")], start).run(stop)
    assert time.monotonic() - begin < 30
    assert len(started) == 2
    assert [process.poll() is not None for process in started] == [True, True]


@pytest.mark.slow
def test_a_pool_runs_as_many_as_it_has_workers(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    mine = [Worker("here-0", "gpu-host"), Worker("here-1", "gpu-host"), Worker("here", "cpu")]
    beat = {"name": "elsewhere", "heartbeat_interval_seconds": 30}
    cluster.ask("/work_pools/gpu-host/workers/heartbeat", beat)
    with temporary_settings({PREFECT_API_URL: cluster.url}):
        asyncio.run(set_limits(mine))
    assert cluster.ask("/work_pools/gpu-host")["concurrency_limit"] == 3
    assert cluster.ask("/work_pools/cpu")["concurrency_limit"] is None
