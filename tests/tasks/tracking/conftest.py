from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.tracking.store import start_preparation


@dataclass(frozen=True)
class FirstUse:
    """What came of two processes that created one database at the same time."""

    home: Path
    exit_codes: tuple[int, int]


@pytest.fixture(scope="session")
def first_use(tmp_path_factory: pytest.TempPathFactory) -> FirstUse:
    """Create a database as rudely as can be; once, because its migrations take seconds.

    Two processes begin at once, where a third one was killed while it created the database.
    """
    home = tmp_path_factory.mktemp("first-use")
    (home / ".mlflow.db.new").write_bytes(b"SQLite format 3\x00 cut off")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HONE_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        processes = (start_preparation(), start_preparation())
        assert processes[0] is not None
        assert processes[1] is not None
        exit_codes = (processes[0].wait(120), processes[1].wait(120))
    return FirstUse(home, exit_codes)


@pytest.fixture
def home(tmp_path: Path, first_use: FirstUse, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test a HONE_HOME of its own with an empty MLflow store."""
    shutil.copyfile(first_use.home / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.setenv("HONE_HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
