from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from configs.errors import RequestError
from configs.schema import DataConfig, ModelConfig
from tasks.version import pin_inputs
from tasks.versioning.comparison import open_version

if TYPE_CHECKING:
    from lakefs.repository import Repository

ROWS = b'{"text": "a"}\n'


def is_rows(name: str) -> bool:
    return name.endswith(".jsonl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train.jsonl", "more/b.jsonl", "eval/test.jsonl", "README.md"):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(ROWS + name.encode())
    return tmp_path / "data"


def test_a_folder_its_commit_and_its_copy_in_the_store_are_equal(
    home: Path, lakefs_repository: Repository, folder: Path
) -> None:
    branch = lakefs_repository.branch("main")
    for file in folder.rglob("*.*"):
        if file.is_file():
            name = file.relative_to(folder).as_posix()
            branch.object(f"rows/{name}").upload(file.read_bytes())
    branch.object("rows2/other.jsonl").upload(ROWS)
    commit = branch.commit("rows").id
    pinned = pin_inputs(DataConfig(source=str(folder)), ModelConfig())
    local = open_version(str(folder), "FIRST", is_rows)
    remote = open_version(f"lakefs://{lakefs_repository.id}/main/rows/", "SECOND", is_rows)
    stored = open_version(pinned.commit[:12], "FIRST", is_rows)
    assert sorted(local.digests) == ["eval/test.jsonl", "more/b.jsonl", "train.jsonl"]
    assert local.digests == remote.digests == stored.digests
    assert remote.name == f"lakefs://{lakefs_repository.id}/{commit}/rows"
    assert stored.names["eval/test.jsonl"] == "eval/test/test.jsonl"


def test_one_object_is_a_version_too(home: Path, lakefs_repository: Repository) -> None:
    branch = lakefs_repository.branch("main")
    branch.object("rows/train.jsonl").upload(ROWS)
    branch.commit("rows")
    version = open_version(f"lakefs://{lakefs_repository.id}/main/rows/train.jsonl", "A", is_rows)
    assert list(version.digests) == ["train.jsonl"]


def test_what_is_nowhere_is_refused(home: Path) -> None:
    with pytest.raises(RequestError, match="FIRST"):
        open_version("abcdef123456", "FIRST", is_rows)


def test_too_few_digits_of_a_commit_are_refused(home: Path, folder: Path) -> None:
    pinned = pin_inputs(DataConfig(source=str(folder)), ModelConfig())
    with pytest.raises(RequestError, match="SECOND"):
        open_version(pinned.commit[:5], "SECOND", is_rows)


def test_sets_with_equal_file_names_stay_apart(home: Path, folder: Path, tmp_path: Path) -> None:
    extras = {name: tmp_path / name / "rows.jsonl" for name in ("one", "two")}
    for name, file in extras.items():
        file.parent.mkdir()
        file.write_bytes(ROWS + name.encode())
    data = DataConfig(source=str(folder), eval_sources={n: str(f) for n, f in extras.items()})
    stored = open_version(pin_inputs(data, ModelConfig()).commit[:12], "FIRST", is_rows)
    assert {"eval/one/rows.jsonl", "eval/two/rows.jsonl"} < set(stored.digests)
