"""What all tests share: one thread, no network, a HONE_HOME of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster import cluster  # noqa: F401 a fixture of all tests
from tests.lakefs_server.fixture import (  # noqa: F401 fixtures and a hook of all tests
    lakefs,
    lakefs_repository,
    pytest_report_header,
    stand_in,
)

# Before torch is imported anywhere: two busy threads on two cores crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HONE_HOME."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HONE_HOME", str(folder))
    return folder
