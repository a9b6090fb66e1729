from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.versioning.commits import list_objects, read_commit
from tasks.versioning.lakefs_client import open_client
from tasks.versioning.prepared import BRANCH, MARKER, PreparedCommit, commit_prepared, find_prepared

if TYPE_CHECKING:
    from lakefs.repository import Repository


@pytest.fixture
def raw_commit(lakefs_repository: Repository) -> str:
    branch = lakefs_repository.branch("main")
    branch.object("rows/train.jsonl").upload(b'{"text": "a"}\n')
    return str(branch.commit("raw").id)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prepared" / "splits").mkdir(parents=True)
    (tmp_path / "prepared" / "splits" / "rows.arrow").write_bytes(b"rows")
    (tmp_path / "prepared" / MARKER).write_text("{}\n")
    return tmp_path / "prepared"


def keep(repository: Repository, raw_commit: str, folder: Path, path: str) -> PreparedCommit:
    return commit_prepared(
        open_client(), repository.id, path, folder,
        raw_commit=raw_commit, metadata={"hone.raw_commit": raw_commit}, where="test",
    )  # fmt: skip


def test_prepared_data_is_kept_away_from_the_raw_branch(
    lakefs_repository: Repository, raw_commit: str, folder: Path
) -> None:
    client, name = open_client(), lakefs_repository.id
    assert find_prepared(client, name, "abc", "test") is None
    kept = keep(lakefs_repository, raw_commit, folder, "abc")
    found = find_prepared(client, name, "abc", "test")
    assert found == PreparedCommit(f"lakefs://{name}/{kept.commit}/abc", kept.commit, True)
    assert [o.path for o in list_objects(client, name, BRANCH)] == [
        f"abc/{MARKER}", "abc/splits/rows.arrow",
    ]  # fmt: skip
    assert lakefs_repository.branch("main").head.id == raw_commit
    info = read_commit(client, name, BRANCH)
    assert info.metadata == {"hone.raw_commit": raw_commit}
    history = [commit.id for commit in lakefs_repository.branch(BRANCH).log()]
    assert raw_commit not in history
    assert {b.id for b in lakefs_repository.branches(show_hidden=True)} == {"main", BRANCH}


def test_each_preparation_is_one_more_commit(
    lakefs_repository: Repository, raw_commit: str, folder: Path
) -> None:
    first = keep(lakefs_repository, raw_commit, folder, "abc")
    second = keep(lakefs_repository, raw_commit, folder, "def")
    info = read_commit(open_client(), lakefs_repository.id, second.commit)
    assert info.parents == (first.commit,)
    assert find_prepared(open_client(), lakefs_repository.id, "abc", "test") is not None


def test_the_same_preparation_again_changes_nothing(
    lakefs_repository: Repository, raw_commit: str, folder: Path
) -> None:
    first = keep(lakefs_repository, raw_commit, folder, "abc")
    assert keep(lakefs_repository, raw_commit, folder, "abc").commit == first.commit
