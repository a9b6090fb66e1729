"""The flow through a real Prefect server and a process worker, as a team runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.flows.running import ROOT, SECONDS, list_runs, list_versions, make_environment, wait_for

PREFECT = (sys.executable, "-m", "prefect")


@dataclass(frozen=True)
class Cluster:
    """A server with its deployments and one worker."""

    url: str
    home: Path
    environment: dict[str, str]

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a Prefect command in the clone."""
        return subprocess.run(
            [*PREFECT, *arguments], cwd=ROOT, env=self.environment, check=False,
            capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip

    def ask(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Ask the server's API."""
        request = Request(  # noqa: S310 - our own server
            f"{self.url}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=60) as response:  # noqa: S310
            return list(json.load(response))


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(url: str) -> bool:
    with contextlib.suppress(OSError), urlopen(f"{url}/health", timeout=5):  # noqa: S310
        return True
    return False


@contextlib.contextmanager
def keep_running(*arguments: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """Start a Prefect command; end it and what it started when the block ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*PREFECT, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    home = folder / "home"
    port = find_free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = make_environment(
        home,
        PREFECT_HOME=str(folder / "prefect"),
        PREFECT_API_URL=url,
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_CLI_COLORS="0",
    )
    for name in ("OMP_NUM_THREADS", "PYTHONPATH", "PWD"):  # who deploys needs to set nothing
        environment.pop(name, None)
    cluster = Cluster(url, home, environment)
    server = ("server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    worker = ("worker", "start", "--pool", "gpu", "--limit", "1", "--name", "tester")
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            keep_running(*server, environment=environment, log=folder / "server.log")
        )
        wait_for(lambda: is_healthy(url), "the Prefect server")
        made = cluster.call("--no-prompt", "work-pool", "create", "gpu", "--type", "process")
        assert made.returncode == 0, made.stdout + made.stderr
        deployed = cluster.call("--no-prompt", "deploy", "--all")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        variables = environment | {"HONE_HOME": str(home), "OMP_NUM_THREADS": "1"}
        stack.enter_context(keep_running(*worker, environment=variables, log=folder / "worker.log"))
        yield cluster


@pytest.mark.slow
def test_a_wrong_value_is_refused_when_the_run_is_requested(cluster: Cluster) -> None:
    config = json.dumps({"training": {"learning_rate": -1}})
    refused = cluster.call("deployment", "run", "finetune/tiny", "--param", f"config={config}")
    assert refused.returncode == 1
    assert "learning_rate" in refused.stdout + refused.stderr
    assert cluster.ask("/flow_runs/filter", {}) == []


@pytest.mark.slow
def test_deployments_depend_on_no_variable_of_who_deploys(cluster: Cluster) -> None:
    deployments = cluster.ask("/deployments/filter", {})
    assert {row["name"] for row in deployments} >= {"tiny", "llama3-8b-lora", "llama3-8b-qlora"}
    for row in deployments:
        (step,) = row["pull_steps"]
        assert step["prefect.deployments.steps.set_working_directory"]["directory"] == str(ROOT)
        assert "{{" not in json.dumps([row["pull_steps"], row["job_variables"], row["parameters"]])


@pytest.mark.slow
def test_a_run_on_a_worker_publishes(cluster: Cluster, preset: Path) -> None:
    data = preset.parent / "data"
    overrides = {
        "data.source": str(data),
        "data.group_by": None,
        "training.max_steps": 20,
        "training.num_sample_generations": 1,
        "evaluation.max_new_tokens": 8,
        "publish.name": "small",
    }
    run = cluster.call(
        "deployment", "run", "finetune/tiny", "--watch", "--param",
        f"overrides={json.dumps(overrides)}",
    )  # fmt: skip
    worker = (cluster.home.parent / "worker.log").read_text(encoding="utf-8")
    assert run.returncode == 0, run.stdout + run.stderr + worker
    (flow_run,) = cluster.ask("/flow_runs/filter", {})
    assert flow_run["state"]["type"] == "COMPLETED"

    artifacts = {row["key"] for row in cluster.ask("/artifacts/latest/filter", {})}
    assert artifacts >= {
        "data-report", "sample-generations", "decision", "checks", "model-card", "report",
        "loss-curve", "train-progress",
    }  # fmt: skip
    lines = [row["message"] for row in cluster.ask("/logs/filter", {})]
    assert any(line.startswith("decide: better") for line in lines)

    assert list_versions(cluster.home) == ["1"]
    (folder,) = list_runs(cluster.home)
    assert (folder / "manifest.json").is_file()
