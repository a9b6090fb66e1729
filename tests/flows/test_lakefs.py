"""A run on data in lakeFS, up to the formatted data; what is kept of it beside the raw data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.push import push_folder
from tasks.versioning.prepared import BRANCH
from tests.flows.conftest import RunFlow
from tests.flows.running import make_row, write_rows

if TYPE_CHECKING:
    from lakefs.repository import Repository


def push(repository: Repository, folder: Path, rows: int) -> str:
    write_rows(folder / "train.jsonl", [make_row(f"Put {n} away.") for n in range(rows)])
    write_rows(folder / "eval" / "test.jsonl", [make_row(f"Take {n} out.") for n in range(5)])
    return push_folder(folder, repository=repository.id, branch="main", path="rows").commit


def count_kept(repository: Repository) -> int:
    return len(list(repository.branch(BRANCH).log())) - 1


def test_a_run_reads_a_commit_and_keeps_what_it_prepared(
    home: Path, lakefs_repository: Repository, tmp_path: Path, run_flow: RunFlow
) -> None:
    source = f"data.source=lakefs://{lakefs_repository.id}/main/rows"
    commit = push(lakefs_repository, tmp_path / "data", 30)
    first = run_flow(source, until="format")
    assert first.data_commit == commit
    assert "prepare" in first.seconds
    assert first.rows is not None
    assert (first.rows.read, count_kept(lakefs_repository)) == (35, 1)

    again = run_flow(source, until="format")
    assert again.reused == ("version", "format", "prepare")
    assert count_kept(lakefs_repository) == 1
    assert lakefs_repository.branch("main").head.id == commit

    newer = push(lakefs_repository, tmp_path / "data", 40)
    second = run_flow(source, "data.keep_prepared=false", until="format")
    assert second.data_commit == newer
    assert "prepare" not in second.seconds
    assert count_kept(lakefs_repository) == 1
