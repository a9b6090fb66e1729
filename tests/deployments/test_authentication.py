"""Servers that ask for a key: the right one works, a wrong one is one clear error, code 3."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.processes import stop_tree
from deployments.services import NO_JOBS, answers
from tests.cluster import find_free_port, serve_prefect
from tests.flows.running import ROOT, Outcome, make_environment, run_hone, wait_for

KEY = "hone:right-1"
WRONG = "hone:wrong-1"
USERS = """\
[mlflow]
default_permission = EDIT
database_uri = sqlite:///{folder}/users.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def is_refused(outcome: Outcome, variable: str, secrets: tuple[str, ...]) -> None:
    """Check that there is one clear error, with code 3, without a key in it and before any work."""
    assert outcome.code == 3, outcome.stderr
    assert variable in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not any(secret in outcome.stderr for secret in secrets)
    # Nothing but the lease on HONE_HOME.
    assert not [p for p in outcome.home.glob("cache/*") if not p.name.startswith(".")]


@pytest.mark.long
@pytest.mark.slow
def test_prefect_takes_the_right_key_alone(tmp_path: Path, preset: Path) -> None:
    home = tmp_path / "home"
    with serve_prefect(
        tmp_path, find_free_port(), PREFECT_SERVER_API_AUTH_STRING=KEY, PREFECT_API_AUTH_STRING=KEY
    ) as cluster:
        for given in ({}, {"PREFECT_API_AUTH_STRING": WRONG}):
            variables = {"PREFECT_API_URL": cluster.url, **given}
            outcome = run_hone(home, "run", str(preset), "--until", "version", **variables)
            is_refused(outcome, "PREFECT_API_AUTH_STRING", (KEY, WRONG))
            command = [sys.executable, "-m", "deployments.pools"]
            pools = subprocess.run(
                command, cwd=ROOT, env=make_environment(home, **variables), check=False,
                capture_output=True, text=True,
            )  # fmt: skip
            assert pools.returncode == 3, pools.stderr
            assert "asks for a key" in pools.stderr
            assert "Traceback" not in pools.stderr
        right = {"PREFECT_API_URL": cluster.url, "PREFECT_API_AUTH_STRING": KEY}
        outcome = run_hone(home, "run", str(preset), "--until", "version", **right)
        assert outcome.code == 0, outcome.stderr


@contextlib.contextmanager
def serve_mlflow(folder: Path, password: str) -> Iterator[str]:
    port = find_free_port()
    users = folder / "users.ini"
    users.write_text(USERS.format(folder=folder))
    own = {
        "MLFLOW_AUTH_CONFIG_PATH": str(users),
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests only",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    } | NO_JOBS
    command = [
        sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1",
        "--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(os.environ) | own, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(f"{url}/health") or process.poll() is not None, "MLflow")
        assert process.poll() is None, (folder / "mlflow.log").read_text()
        yield url
    finally:
        stop_tree(process.pid)
        process.wait()


@pytest.mark.long
@pytest.mark.slow
def test_mlflow_takes_the_right_password_alone(tmp_path: Path, preset: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    password, wrong = "right-password-1", "wrong-password-1"
    with serve_mlflow(tmp_path, password) as url:
        for given in ({}, {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": wrong}):
            variables = {"MLFLOW_TRACKING_URI": url, **given}
            outcome = run_hone(home, "run", str(preset), "--until", "version", **variables)
            is_refused(outcome, "MLFLOW_TRACKING_USERNAME", (password, wrong))
        right = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": password}
        outcome = run_hone(
            home, "run", str(preset), "--until", "version", MLFLOW_TRACKING_URI=url, **right
        )
        assert outcome.code == 0, outcome.stderr
