from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import RunError
from tasks.records.home import find_project
from tasks.tracking.store import (
    find_registry_uri,
    find_tracking_uri,
    has_server,
    hide_password,
    open_client,
    prepare_database,
    start_preparation,
)


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


def test_two_processes_at_first_use_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first = start_preparation()
    assert first is not None
    second = subprocess.Popen([sys.executable, "-m", "tasks.tracking.store"], cwd=find_project())
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert count_experiments(tmp_path / "mlflow.db") == 1
    assert start_preparation() is None
    leftovers = {path.name for path in tmp_path.iterdir()} - {"mlflow.db", "mlflow.db.lock"}
    assert leftovers == set()


def test_a_preparation_that_was_killed_is_begun_again(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    whole = empty_store.read_bytes()
    (tmp_path / ".mlflow.db.new").write_bytes(whole[: len(whole) // 2])
    prepare_database()
    assert open_client().get_experiment("0").name == "Default"


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
