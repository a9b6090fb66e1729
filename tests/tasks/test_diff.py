from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from configs.schema import DataConfig
from tasks.diff import DataDiff, compare_versions
from tasks.push import push_folder
from tests.flows.running import make_row, write_rows

if TYPE_CHECKING:
    from lakefs.repository import Repository


@pytest.fixture
def versions(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders: one row more, one less, one with another answer, one file new, one equal."""
    first, second = tmp_path / "first", tmp_path / "second"
    rows = [make_row(f"Put {n} away.") for n in range(10)]
    write_rows(first / "train.jsonl", rows)
    write_rows(second / "train.jsonl", [*rows[1:9], make_row("Put 9 away.", "No."), make_row("?")])
    for folder in (first, second):
        write_rows(folder / "eval" / "test.jsonl", [make_row("Take 1 out.")])
    write_rows(second / "more.jsonl", [make_row("Put 20 away."), make_row("Put 21 away.")])
    return first, second


def compare(first: str, second: str) -> DataDiff:
    return compare_versions(first, second, DataConfig())


def check(diff: DataDiff) -> None:
    assert (diff.added, diff.removed, diff.changed, diff.num_equal_files) == (3, 1, 1, 1)
    by_file = {file.file: file for file in diff.files}
    assert set(by_file) == {"more.jsonl", "train.jsonl"}
    assert (by_file["more.jsonl"].status, by_file["more.jsonl"].added) == ("added", 2)
    train = by_file["train.jsonl"]
    assert (train.added, train.removed, train.changed, train.unchanged) == (1, 1, 1, 8)


def test_two_folders(home: Path, versions: tuple[Path, Path]) -> None:
    first, second = versions
    check(compare(str(first), str(second)))
    same = compare(str(first), str(first))
    assert (same.files, same.num_equal_files) == ((), 2)
    back = compare(str(second), str(first))
    assert (back.added, back.removed, back.changed) == (1, 3, 1)


def test_two_commits(
    home: Path, lakefs_repository: Repository, versions: tuple[Path, Path]
) -> None:
    name = lakefs_repository.id
    commits = [
        push_folder(folder, repository=name, branch="main", path="rows").commit
        for folder in versions
    ]
    diff = compare(*(f"lakefs://{name}/{commit}/rows" for commit in commits))
    check(diff)
    assert (diff.first, diff.second) == tuple(f"lakefs://{name}/{c}/rows" for c in commits)
    check(compare(f"lakefs://{name}/main~1/rows", f"lakefs://{name}/main/rows"))
    check(compare(str(versions[0]), f"lakefs://{name}/main/rows"))


def test_two_files_are_compared_whatever_their_names(home: Path, tmp_path: Path) -> None:
    rows = [make_row(f"Put {n} away.") for n in range(4)]
    write_rows(tmp_path / "old.jsonl", rows)
    write_rows(tmp_path / "new.ndjson", [*rows[1:], make_row("?")])
    diff = compare(str(tmp_path / "old.jsonl"), str(tmp_path / "new.ndjson"))
    [file] = diff.files
    assert (file.file, file.added, file.removed, file.unchanged) == ("new.ndjson", 1, 1, 3)
