"""What a run shows of its data: in its folder, and among the artifacts of its MLflow run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.tracking.runs import find_run
from tasks.tracking.store import open_client
from tests.flows.running import Outcome


@pytest.fixture
def artifacts(published: Outcome, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The files of the published run's MLflow run below `data/`, by path."""
    monkeypatch.setenv("HONE_HOME", str(published.home))
    run = find_run(Path(str(published.result["run_dir"])).name)
    assert run is not None
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    return {
        item.path: folder / item.path
        for item in open_client().list_artifacts(run.info.run_id, "data")
    }


def test_mlflow_gets_the_page_the_preview_and_the_plot(artifacts: dict[str, Path]) -> None:
    assert set(artifacts) == {"data/data_report.md", "data/preview.md", "data/lengths.png"}
    assert artifacts["data/lengths.png"].read_bytes().startswith(b"\x89PNG")
    assert "⟦" in artifacts["data/preview.md"].read_text(encoding="utf-8")


def test_the_page_says_what_hone_data_inspect_says(
    published: Outcome, artifacts: dict[str, Path]
) -> None:
    page = artifacts["data/data_report.md"].read_text(encoding="utf-8")
    for title in ("## Rows", "## Splits", "## Lengths in tokens", "## Turns by role"):
        assert title in page
    run = published.home / str(published.result["run_dir"])
    assert (run / "data" / "data_report.md").read_text(encoding="utf-8") == page
    assert os.path.lexists(run / "data" / "inspection.json")
