from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from configs.schema import DataConfig, ModelConfig
from tasks.version import pin_inputs
from tasks.versioning.origins import trace_data

if TYPE_CHECKING:
    from lakefs.repository import Repository

ROWS = b'{"text": "a"}\n'


def test_data_in_lakefs_is_told_by_its_commit(home: Path, lakefs_repository: Repository) -> None:
    branch = lakefs_repository.branch("main")
    for name in ("rows/train.jsonl", "rows/README.md", "rows2/other.jsonl"):
        branch.object(name).upload(ROWS)
    commit = branch.commit("the rows", {"ticket": "7"}).id
    source = f"lakefs://{lakefs_repository.id}/main/rows"
    data = pin_inputs(DataConfig(source=source), ModelConfig())
    branch.object("rows/train.jsonl").upload(ROWS * 2)
    branch.commit("later")
    origin = trace_data(source, data.commit, data.digest)
    assert origin.lakefs is not None
    assert (origin.lakefs.id, origin.lakefs.message) == (commit, "the rows")
    assert (origin.lakefs.author, origin.lakefs.metadata) == ("admin", {"ticket": "7"})
    assert [found.path for found in origin.objects] == ["rows/README.md", "rows/train.jsonl"]
    assert origin.objects[1].num_bytes == len(ROWS)
    assert list(origin.files) == ["train/train.jsonl"]
    assert origin.problem == ""


def test_local_data_is_told_by_its_files(home: Path, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(ROWS)
    source = str(tmp_path / "train.jsonl")
    data = pin_inputs(DataConfig(source=source), ModelConfig())
    origin = trace_data(source, data.commit)
    assert list(origin.files) == ["train/train.jsonl"]
    assert (origin.lakefs, origin.problem) == (None, "")
    gone = trace_data(source, "0" * 40)
    assert (gone.files, "does not hold this data" in gone.problem) == ({}, True)


def test_a_server_that_is_away_is_named_and_no_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LAKEFS_ENDPOINT", "LAKEFS_ACCESS_KEY", "LAKEFS_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    origin = trace_data("lakefs://hone/main/rows", "0" * 64)
    assert origin.lakefs is None
    assert origin.problem
