"""A real MLflow server, whose artifacts can be had through it alone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

from deployments.services import NO_JOBS
from tests.flows.running import make_environment, wait_for


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: str) -> bool:
    with contextlib.suppress(OSError), urlopen(address, timeout=5):  # noqa: S310 - our own
        return True
    return False


@contextlib.contextmanager
def serve_mlflow(folder: Path, database: Path | None = None) -> Iterator[str]:
    """Serve MLflow from a folder; give its address.

    Args:
        folder: Gets the artifacts and the log.
        database: An empty database, which is used; to make one takes the server many seconds.
    """
    port = find_free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{database or folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts",
    ]  # fmt: skip
    own = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"} | NO_JOBS
    variables = make_environment(folder, **own)
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: answers(f"{address}/health") or process.poll() is not None, "MLflow")
        assert process.poll() is None, (folder / "mlflow.log").read_text(encoding="utf-8")
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
