from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.push import PushResult, push_folder
from tasks.versioning.commits import read_commit
from tasks.versioning.lakefs_client import open_client
from tests.flows.running import make_row, write_rows

if TYPE_CHECKING:
    from lakefs.repository import Repository


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_rows(folder / "train.jsonl", [make_row(f"Put {n} away.") for n in range(20)])
    write_rows(folder / "eval" / "test.jsonl", [make_row(f"Take {n} out.") for n in range(5)])
    (folder / "README.md").write_text("about\n")
    return folder


def push(repository: Repository, folder: Path, **options: Any) -> PushResult:
    return push_folder(folder, repository=repository.id, branch="main", path="rows", **options)


def test_valid_rows_are_merged_with_their_counts(
    home: Path, lakefs_repository: Repository, folder: Path
) -> None:
    result = push(lakefs_repository, folder, message="the first", metadata={"ticket": "7"})
    assert (result.added, result.updated, result.removed, result.unchanged) == (3, 0, 0, 0)
    assert result.rows is not None
    assert (result.rows.read, result.rows.kept, result.rows.invalid) == (25, 25, 0)
    commit = read_commit(open_client(), lakefs_repository.id, "main")
    assert (commit.id, commit.message) == (result.commit, "the first")
    counts = {"hone.rows_read": "25", "hone.rows_kept": "25"}
    assert commit.metadata == {"ticket": "7", **counts}
    assert result.source == f"lakefs://{lakefs_repository.id}/main/rows"
    leftovers = [path for path in (home / "cache").iterdir() if path.name.startswith(".")]
    assert leftovers == []


def test_nothing_changed_is_success(
    home: Path, lakefs_repository: Repository, folder: Path
) -> None:
    first = push(lakefs_repository, folder)
    again = push(lakefs_repository, folder, message="never seen")
    assert (again.changed, again.commit, again.unchanged) == (False, first.commit, 3)


def test_invalid_rows_are_refused_with_their_lines(
    home: Path, lakefs_repository: Repository, folder: Path
) -> None:
    before = push(lakefs_repository, folder).commit
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"messages": [}\n')
    with pytest.raises(RequestError, match="1 of 26 rows are invalid") as refused:
        push(lakefs_repository, folder)
    assert refused.value.problems[0].startswith("train.jsonl:21: broken JSON")
    assert "main is as it was" in refused.value.message
    assert lakefs_repository.branch("main").head.id == before
    assert [b.id for b in lakefs_repository.branches(show_hidden=True)] == ["main"]


def test_new_rows_are_validated_together_with_those_that_are_there(
    home: Path, lakefs_repository: Repository, folder: Path, tmp_path: Path
) -> None:
    push(lakefs_repository, folder)
    more = tmp_path / "more"
    write_rows(more / "more.jsonl", [make_row("Put 99 away.")])
    result = push(lakefs_repository, more)
    assert result.rows is not None
    assert (result.rows.read, result.added) == (26, 1)


def test_the_settings_of_a_preset_decide_what_is_valid(
    home: Path, lakefs_repository: Repository, tmp_path: Path
) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    turns = [{"role": "bot", "content": "Hi."}]
    row = {"messages": [{"role": "user", "content": "Hello."}, *turns]}
    (folder / "train.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RequestError, match="1 of 1 rows are invalid"):
        push(lakefs_repository, folder)
    result = push(lakefs_repository, folder, data=DataConfig(roles={"bot": "assistant"}))
    assert result.changed


def test_a_folder_without_rows_is_refused(
    home: Path, lakefs_repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "README.md").write_text("about\n")
    with pytest.raises(RequestError, match="no training file"):
        push(lakefs_repository, tmp_path / "notes")
    assert [o.path for o in lakefs_repository.branch("main").objects()] == []


def test_progress_is_told_in_bytes(home: Path, lakefs_repository: Repository, folder: Path) -> None:
    told: list[tuple[int, int]] = []
    result = push(lakefs_repository, folder, report=lambda done, total: told.append((done, total)))
    assert told[-1] == (result.num_bytes, result.num_bytes)


def test_training_rows_that_stand_in_the_test_set_are_refused(
    home: Path, lakefs_repository: Repository, folder: Path
) -> None:
    write_rows(folder / "more.jsonl", [make_row("Take 1 out.", "Another answer.")])
    with pytest.raises(RequestError, match="main is as it was") as refused:
        push(lakefs_repository, folder)
    assert "more.jsonl:1" in str(refused.value)
    result = push(lakefs_repository, folder, data=DataConfig(overlap="filter"))
    assert result.rows is not None
    assert (result.rows.kept, result.rows.filtered) == (25, 1)
