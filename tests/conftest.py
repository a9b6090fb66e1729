"""What all tests share: one thread, no network, a HONE_HOME of their own."""

from __future__ import annotations

import os
from collections import Counter
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each of several processes whole files, those of one server together, long ones first.

    A fixture of a file, or of the server, is then made once, and no process waits long for another
    one's last file.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    on_server = {item.path for item in items if "cluster" in getattr(item, "fixturenames", ())}
    num_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    for item in items:
        group = "cluster" if item.path in on_server else item.path.relative_to(ROOT).as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (item.path not in on_server, -num_slow[item.path]))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HONE_HOME."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HONE_HOME", str(folder))
    return folder
