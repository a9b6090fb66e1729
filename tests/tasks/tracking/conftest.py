from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.tracking.store import prepare_database


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one migrated database; creating it anew for each test would take seconds each."""
    home = tmp_path_factory.mktemp("empty-store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare_database()
    return home / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test a HONE_HOME of its own with an empty MLflow store."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("HONE_HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
