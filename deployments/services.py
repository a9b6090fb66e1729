"""The servers of `make up`: how each is started, when it is ready, and what talks to it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from configs.errors import RunError
from deployments.lakefs import load_keys, put_example
from deployments.lakefs_server import HOST, Keys, find_server, make_environment, reserve_port
from deployments.processes import StartedProcess, find_process, read_log_end, start_process
from deployments.workers import EVERY_PROCESS
from tasks.records.home import find_home
from tasks.tracking.store import (
    DEFAULT_SETTINGS,
    REQUIRED_SETTINGS,
    find_artifact_root,
    prepare_database,
)

START_SECONDS = 180
# MLflow's own jobs judge traces of agents; hone has none, and they are seven more processes.
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
PLANNED = re.compile(rb"^worker .+: pool ", re.MULTILINE)  # what deployments.workers says
STARTED = re.compile(rb"^Worker '.+' started!", re.MULTILINE)  # what Prefect says


@dataclass(frozen=True)
class Ports:
    """Where the servers listen; 0 is a free port."""

    prefect: int = 4200
    mlflow: int = 5000
    lakefs: int = 8000


@dataclass(frozen=True)
class Service:
    """A process of `make up`.

    Attributes:
        name: Its name.
        command: What starts it.
        environment: Its whole environment.
        log: Where its output goes.
        address: What a person opens.
        health: What answers once it is ready; empty where `is_ready` says it.
        variables: What those who talk to it have in their environment.
        is_ready: Whether it is ready, where no address tells.
        prepare: What is done once it is.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    address: str = ""
    health: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] = lambda: True
    prepare: Callable[[], None] = lambda: None

    def start(self) -> StartedProcess:
        """Start it; it outlives this process."""
        return start_process(self.name, self.command, self.environment, self.log, self.address)


def list_services(
    folder: Path, ports: Ports, running: Mapping[str, StartedProcess]
) -> list[Service]:
    """Return the servers of this machine; those that run keep their address.

    Raises:
        RequestError: A port is taken.
    """
    services = [
        plan_prefect(folder, _choose_port("prefect", ports.prefect, running)),
        plan_mlflow(folder, _choose_port("mlflow", ports.mlflow, running)),
    ]
    if program := find_server():
        services.append(plan_lakefs(folder, program, _choose_port("lakefs", ports.lakefs, running)))
    return services


def _choose_port(name: str, port: int, running: Mapping[str, StartedProcess]) -> int:
    if name in running:
        return int(running[name].address.rpartition(":")[2])
    return reserve_port(port, f"make up {name.upper()}_PORT")


def plan_prefect(folder: Path, port: int) -> Service:
    """Return the Prefect server, with its UI and its schedules."""
    address = f"http://{HOST}:{port}"
    own = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    key = os.environ.get("PREFECT_SERVER_API_AUTH_STRING", "")
    variables = {"PREFECT_API_URL": f"{address}/api", "PREFECT_HOME": own["PREFECT_HOME"]}
    if key:
        variables["PREFECT_API_AUTH_STRING"] = key
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return Service(
        "prefect",
        (sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)),
        inherited | own | {"PREFECT_API_URL": f"{address}/api"},
        folder / "prefect.log",
        address,
        f"{address}/api/health",
        variables,
    )


def plan_mlflow(folder: Path, port: int) -> Service:
    """Return the MLflow server over HONE_HOME's own database: earlier runs are in it."""
    address = f"http://{HOST}:{port}"
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # of a server elsewhere, which is not this one
    prepare_database()
    command = (
        sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{find_home() / 'mlflow.db'}",
        "--artifacts-destination", str(find_artifact_root()),
    )  # fmt: skip
    return Service(
        "mlflow",
        command,
        NO_JOBS | dict(os.environ) | DEFAULT_SETTINGS | REQUIRED_SETTINGS,
        folder / "mlflow.log",
        address,
        f"{address}/health",
        {"MLFLOW_TRACKING_URI": address},
    )


def plan_lakefs(folder: Path, program: str, port: int) -> Service:
    """Return the lakeFS server of `make lakefs`, with the same stores, keys and example data."""
    address = f"http://{HOST}:{port}"
    stores = find_home() / ".lakefs"
    keys = load_keys(stores / "keys.json")
    return Service(
        "lakefs",
        (program, "run"),
        make_environment(stores, keys, port),
        folder / "lakefs.log",
        address,
        f"{address}/_health",
        {
            "LAKEFS_ENDPOINT": address,
            "LAKEFS_ACCESS_KEY": keys.access_key,
            "LAKEFS_SECRET_KEY": keys.secret_key,
        },
        prepare=partial(_put_example, address, keys),
    )


def _put_example(address: str, keys: Keys) -> None:
    put_example(address, keys)


def plan_workers_service(folder: Path, variables: dict[str, str]) -> Service:
    """Return what keeps this host's workers running."""
    log = folder / "workers.log"
    before = log.stat().st_size if log.is_file() else 0
    return Service(
        "workers",
        (sys.executable, "-m", "deployments.workers"),
        EVERY_PROCESS
        | dict(os.environ)
        | variables
        | {"HONE_HOME": str(find_home()), "PYTHONUNBUFFERED": "1"},
        log,
        is_ready=lambda: _are_working(log, before),
    )


def _are_working(log: Path, before: int) -> bool:
    """Return whether as many workers have started as were planned."""
    with log.open("rb") as file:
        file.seek(before)
        text = file.read()
    return 0 < len(PLANNED.findall(text)) <= len(STARTED.findall(text))


def wait_until_ready(service: Service, started: StartedProcess) -> None:
    """Wait until a service answers.

    Raises:
        RunError: It ended, or does not answer in time; with the last words of its log.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and find_process(started):
        if answers(service.health) if service.health else service.is_ready():
            return
        time.sleep(0.2)
    state = "does not answer" if find_process(started) else "has ended"
    raise RunError(
        message=f"{service.name} {state}:\n{read_log_end(service.log)}", where=str(service.log)
    )


def answers(address: str) -> bool:
    """Return whether an address answers; a server that asks for a key does."""
    try:
        urlopen(address, timeout=5).close()  # noqa: S310 our own
    except HTTPError as err:
        return err.code in {401, 403}
    except (URLError, HTTPException, OSError):
        return False
    return True
