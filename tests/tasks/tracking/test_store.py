from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from configs.errors import RunError
from tasks.tracking.store import (
    find_registry_uri,
    find_tracking_uri,
    has_server,
    hide_password,
    open_client,
    start_preparation,
)

from .conftest import FirstUse


def count_experiments(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return int(connection.execute("select count(*) from experiments").fetchone()[0])


def test_the_default_store_lies_in_hone_home(home: Path) -> None:
    assert find_tracking_uri() == f"sqlite:///{home}/mlflow.db"
    assert find_registry_uri() == find_tracking_uri()


def test_the_environment_names_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert find_tracking_uri() == "http://mlflow:5000"
    assert has_server(find_tracking_uri())
    assert start_preparation() is None


def test_first_use_survives_two_processes_and_a_killed_one(
    first_use: FirstUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_use.exit_codes == (0, 0)
    assert {path.name for path in first_use.home.iterdir()} == {"mlflow.db", "mlflow.db.lock"}
    assert count_experiments(first_use.home / "mlflow.db") == 1
    monkeypatch.setenv("HONE_HOME", str(first_use.home))
    assert start_preparation() is None


def test_opening_a_client_switches_telemetry_and_pickle_off(home: Path) -> None:
    client = open_client()
    assert client.get_experiment("0").artifact_location.startswith("file://")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()


def test_a_store_of_another_version_is_named(home: Path) -> None:
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute("update alembic_version set version_num = '451aebb31d03'")
    with pytest.raises(RunError, match=r"mlflow\.db: MLflow cannot open this store: .*out-of-date"):
        open_client()


def test_passwords_are_hidden() -> None:
    message = "request to http://me:pa55@host:5000/api failed, postgresql://db/x is fine"
    assert "pa55" not in hide_password(message)
    assert hide_password("sqlite:////tmp/mlflow.db") == "sqlite:////tmp/mlflow.db"
