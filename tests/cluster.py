"""A real Prefect server with hone's pools and deployments, one for all tests of a session."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.flows.running import ROOT, SECONDS, make_environment, wait_for

PREFECT = (sys.executable, "-m", "prefect")


@dataclass(frozen=True)
class Cluster:
    """A server with its deployments; a test brings the workers that it needs.

    Attributes:
        url: Of its API.
        home: The HONE_HOME of what runs on it.
        environment: Of whoever talks to it.
        folder: For logs.
    """

    url: str
    home: Path
    environment: dict[str, str]
    folder: Path

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a Prefect command in the clone."""
        return self.call_python("-m", "prefect", *arguments)

    def call_python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the clone."""
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.environment, check=False,
            capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str = "") -> Any:
        """Ask the server's API; with a body by POST, else by GET, or as named.

        As Prefect's own client does, it asks again while SQLite is locked by the server's own
        services (503).
        """
        request = Request(  # noqa: S310 - our own server
            f"{self.url}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method or ("GET" if body is None else "POST"),
        )
        for attempt in range(30):
            try:
                with urlopen(request, timeout=180) as response:  # noqa: S310
                    text = response.read()
            except HTTPError as err:
                if err.code != HTTPStatus.SERVICE_UNAVAILABLE or attempt == 29:
                    raise
                time.sleep(1)
            else:
                return json.loads(text) if text else None
        raise AssertionError("not reached")

    @contextlib.contextmanager
    def work(self, pool: str, name: str = "tester", **variables: str) -> Iterator[Path]:
        """Have a worker of a pool in the block; its log is given."""
        log = self.folder / f"worker-{pool}-{name}.log"
        own = {"HONE_HOME": str(self.home), "OMP_NUM_THREADS": "1"} | variables
        command = ("worker", "start", "--pool", pool, "--limit", "1", "--name", name)
        with keep_running(*command, environment=self.environment | own, log=log):
            yield log


def find_free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(url: str) -> bool:
    """Return whether the server of an API answers."""
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


@contextlib.contextmanager
def serve_prefect(folder: Path, port: int, **variables: str) -> Iterator[Cluster]:
    """Have a Prefect server in the block, its state and logs in a folder."""
    url = f"http://127.0.0.1:{port}/api"
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = make_environment(
        home,
        PREFECT_HOME=str(folder / "prefect"),
        PREFECT_API_URL=url,
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_CLI_COLORS="0",
        **variables,
    )
    for name in ("OMP_NUM_THREADS", "PYTHONPATH", "PWD"):  # who deploys needs to set nothing
        environment.pop(name, None)
    command = ("server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    with keep_running(*command, environment=environment, log=folder / "server.log"):
        wait_for(lambda: is_healthy(url), "the Prefect server")
        yield Cluster(url, home, environment, folder)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server with hone's work pools and deployments."""
    with serve_prefect(tmp_path_factory.mktemp("cluster"), find_free_port()) as made:
        pools = made.call_python("-m", "deployments.pools")
        assert pools.returncode == 0, pools.stdout + pools.stderr
        deployed = made.call("--no-prompt", "deploy", "--all")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        yield made
