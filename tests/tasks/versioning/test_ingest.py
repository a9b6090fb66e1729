from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from configs.errors import RequestError, RunError
from tasks.versioning import lakefs_client, side_branches
from tasks.versioning.commits import list_objects, read_commit
from tasks.versioning.ingest import Ingest, ingest_folder, parse_metadata, plan_ingest
from tasks.versioning.lakefs_client import open_client
from tasks.versioning.uploads import DIGEST_KEY
from tests.lakefs_server.faults import Fault
from tests.lakefs_server.fixture import ACCESS_KEY, SECRET_KEY, describe_stand_in
from tests.lakefs_server.server import StandIn, serve_stand_in

if TYPE_CHECKING:
    from lakefs.repository import Repository

ROWS = "".join(f'{{"text": "row {number}"}}\n' for number in range(50))

ACTION = """\
name: never
on: {pre-merge: {branches: [another]}}
hooks: [{id: check, type: webhook, properties: {url: "http://127.0.0.1:9/"}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name in ("train.jsonl", "eval/test.jsonl", "more/ä b.jsonl", ".git/config"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(ROWS)
    return folder


def plan(
    repository: Repository, folder: Path, *, path: str = "rows", delete: bool = False
) -> Ingest:
    return plan_ingest(
        open_client(), folder, repository=repository.id, branch="main", path=path, delete=delete
    )


def push(
    repository: Repository,
    folder: Path,
    accept: Callable[[str], dict[str, str]] = lambda _commit: {},
    *,
    delete: bool = False,
) -> str:
    ingest = plan(repository, folder, delete=delete)
    return ingest_folder(
        open_client(), ingest, message="news", metadata={"ticket": "42"}, accept=accept
    )


def list_paths(repository: Repository, ref: str = "main") -> list[str]:
    return [found.path for found in list_objects(open_client(), repository.id, ref)]


def test_a_folder_becomes_one_commit(lakefs_repository: Repository, folder: Path) -> None:
    before = read_commit(open_client(), lakefs_repository.id, "main")
    commit = push(lakefs_repository, folder, lambda _: {"hone.rows_read": "100"})
    after = read_commit(open_client(), lakefs_repository.id, "main")
    assert (after.id, after.parents, after.message) == (commit, (before.id,), "news")
    assert after.metadata == {"ticket": "42", "hone.rows_read": "100"}
    assert list_paths(lakefs_repository) == [
        "rows/eval/test.jsonl", "rows/more/ä b.jsonl", "rows/train.jsonl",
    ]  # fmt: skip
    assert [branch.id for branch in lakefs_repository.branches()] == ["main"]
    found = lakefs_repository.ref(commit).object("rows/train.jsonl")
    assert found.reader("rb").read() == ROWS.encode()


def test_only_what_changed_is_sent(lakefs_repository: Repository, folder: Path) -> None:
    push(lakefs_repository, folder)
    assert plan(lakefs_repository, folder).is_empty
    (folder / "train.jsonl").write_text(ROWS.upper())
    (folder / "new.jsonl").write_text(ROWS)
    (folder / "eval" / "test.jsonl").unlink()
    ingest = plan(lakefs_repository, folder)
    assert [file.path for file in ingest.difference.added] == ["rows/new.jsonl"]
    assert [file.path for file in ingest.difference.changed] == ["rows/train.jsonl"]
    assert ingest.difference.absent == ("rows/eval/test.jsonl",)
    assert ingest.deletions == ()
    assert ingest.num_bytes == 2 * len(ROWS)


def test_absent_files_are_deleted_on_request_and_hooks_never(
    lakefs_repository: Repository, folder: Path
) -> None:
    branch = lakefs_repository.branch("main")
    branch.object("_lakefs_actions/hook.yaml").upload(ACTION.encode())
    branch.object("old.jsonl").upload(ROWS.encode())
    branch.commit("before")
    client = open_client()
    ingest = plan(lakefs_repository, folder, path="", delete=True)
    assert ingest.deletions == ("old.jsonl",)
    ingest_folder(client, ingest, message="m", metadata={}, accept=lambda _: {})
    assert list_paths(lakefs_repository) == [
        "_lakefs_actions/hook.yaml", "eval/test.jsonl", "more/ä b.jsonl", "train.jsonl",
    ]  # fmt: skip


def test_an_object_of_another_program_is_known_by_its_checksum(
    lakefs_repository: Repository, folder: Path
) -> None:
    branch = lakefs_repository.branch("main")
    branch.object("rows/train.jsonl").upload(ROWS.encode())
    branch.commit("by hand")
    difference = plan(lakefs_repository, folder).difference
    assert [file.path for file in difference.unchanged] == ["rows/train.jsonl"]


def test_what_is_refused_never_reaches_the_branch(
    lakefs_repository: Repository, folder: Path
) -> None:
    seen: list[list[str]] = []

    def refuse(commit: str) -> dict[str, str]:
        seen.append(list_paths(lakefs_repository, commit))
        raise RequestError(message="3 rows are invalid")

    before = lakefs_repository.branch("main").head.id
    with pytest.raises(RequestError, match="3 rows are invalid"):
        push(lakefs_repository, folder, refuse)
    assert seen == [["rows/eval/test.jsonl", "rows/more/ä b.jsonl", "rows/train.jsonl"]]
    assert lakefs_repository.branch("main").head.id == before
    assert list_paths(lakefs_repository) == []
    branches = [branch.id for branch in lakefs_repository.branches(show_hidden=True)]
    assert branches == ["main"]


def test_a_branch_that_moves_meanwhile_is_not_merged_into(
    lakefs_repository: Repository, folder: Path
) -> None:
    def move(_commit: str) -> dict[str, str]:
        branch = lakefs_repository.branch("main")
        branch.object("other.jsonl").upload(b"{}\n")
        branch.commit("meanwhile")
        return {}

    with pytest.raises(RunError, match="main moved from"):
        push(lakefs_repository, folder, move)
    assert list_paths(lakefs_repository) == ["other.jsonl"]


@pytest.mark.parametrize("is_accepted", [True, False])
def test_a_branch_that_moves_in_the_moment_of_the_merge_is_told(
    lakefs_repository: Repository,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_accepted: bool,
) -> None:
    merge = side_branches.merge_branch

    def move_and_merge(*values: Any) -> str | None:
        branch = lakefs_repository.branch("main")
        branch.object("other.jsonl").upload(b"{}\n")
        branch.commit("meanwhile")
        return merge(*values)

    monkeypatch.setattr("tasks.versioning.ingest.merge_branch", move_and_merge)
    seen: list[str] = []

    def accept(commit: str) -> dict[str, str]:
        seen.append(commit)
        if len(seen) == 2 and not is_accepted:
            raise RequestError(message="a training row stands in the test set")
        return {}

    if is_accepted:
        commit = push(lakefs_repository, folder, accept)
        assert seen[1:] == [commit]
        assert "in the moment of the merge" in caplog.text
    else:
        with pytest.raises(RunError, match="not together: a training row") as failed:
            push(lakefs_repository, folder, accept)
        assert f"lakectl branch revert lakefs://{lakefs_repository.id}/main {seen[1]}" in str(
            failed.value
        )
    assert seen[1] == lakefs_repository.branch("main").head.id
    assert "other.jsonl" in list_paths(lakefs_repository, seen[1])


@pytest.mark.parametrize("path", ["_lakefs_actions", "/_lakefs_actions/more/"])
def test_hooks_are_not_pushed(lakefs_repository: Repository, folder: Path, path: str) -> None:
    with pytest.raises(RequestError, match="holds the repository's hooks"):
        plan_ingest(
            open_client(), folder, repository=lakefs_repository.id, branch="main", path=path,
            delete=False,
        )  # fmt: skip


def test_a_file_that_is_changed_while_it_is_sent_is_an_error(
    lakefs_repository: Repository, folder: Path
) -> None:
    ingest = plan(lakefs_repository, folder)
    (folder / "train.jsonl").write_text(ROWS.upper())
    with pytest.raises(RunError, match="changed while it was sent"):
        ingest_folder(open_client(), ingest, message="m", metadata={}, accept=lambda _: {})
    assert list_paths(lakefs_repository) == []


def test_an_empty_file_is_a_file(lakefs_repository: Repository, folder: Path) -> None:
    (folder / "empty.txt").touch()
    commit = push(lakefs_repository, folder)
    objects = list_objects(open_client(), lakefs_repository.id, commit, "rows/empty.txt")
    assert [found.num_bytes for found in objects] == [0]
    assert plan(lakefs_repository, folder).is_empty


def test_a_big_file_arrives_whole(lakefs_repository: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    content = os.urandom(9 << 20)
    (folder / "rows.bin").write_bytes(content)
    commit = push(lakefs_repository, folder)
    (found,) = list_objects(open_client(), lakefs_repository.id, commit)
    assert found.num_bytes == len(content)
    assert DIGEST_KEY in found.metadata
    assert lakefs_repository.ref(commit).object(found.path).reader("rb").read() == content


def test_a_server_that_is_busy_for_a_moment_gets_everything(
    stand_in: StandIn, folder: Path
) -> None:
    repository = describe_stand_in(stand_in).create_repository()
    stand_in.faults.add(Fault("POST", "objects", status=503), times=2)
    stand_in.faults.add(Fault("POST", "objects", status=429, retry_after_seconds=0))
    push(repository, folder)
    assert len(list_paths(repository)) == 3


def test_a_server_that_fails_leaves_nothing_behind(
    stand_in: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lakefs_client.Retries, "wait_before", lambda *_: 0.0)
    repository = describe_stand_in(stand_in).create_repository()
    stand_in.faults.add(Fault("POST", "objects", status=500), times=100)
    with pytest.raises(RunError, match="500"):
        push(repository, folder)
    assert [b.id for b in repository.branches(show_hidden=True)] == ["main"]


def test_signed_urls_are_used_where_the_store_offers_them(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_stand_in(tmp_path / "store", {ACCESS_KEY: SECRET_KEY}, presign=True) as server:
        for name, value in describe_stand_in(server).environment.items():
            monkeypatch.setenv(name, value)
        repository = describe_stand_in(server).create_repository()
        push(repository, folder)
        assert server.faults.count("POST .*/objects") == 0
        objects = list_objects(open_client(), repository.id, "main")
        assert [DIGEST_KEY in found.metadata for found in objects] == [True] * 3
        assert plan(repository, folder).is_empty


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"branch": "nope"}, "no branch, tag or commit 'nope'"),
        ({"repository": "hone-nowhere"}, "no repository 'hone-nowhere'"),
    ],
)
def test_a_place_that_does_not_exist_is_named(
    lakefs_repository: Repository, folder: Path, arguments: dict[str, str], problem: str
) -> None:
    place = {"repository": lakefs_repository.id, "branch": "main"} | arguments
    with pytest.raises(RequestError, match=problem):
        plan_ingest(open_client(), folder, path="", delete=False, **place)


@pytest.mark.parametrize("ref", ["main~1", "v1"])
def test_only_a_branch_can_be_pushed_to(
    lakefs_repository: Repository, folder: Path, ref: str
) -> None:
    push(lakefs_repository, folder)
    lakefs_repository.tag("v1").create("main")
    with pytest.raises(RequestError, match="not a branch"):
        plan_ingest(
            open_client(), folder, repository=lakefs_repository.id, branch=ref, path="",
            delete=False,
        )  # fmt: skip


@pytest.mark.parametrize("pair", ["ticket", "=4", "hone.rows_read=3", "a=1"])
def test_wrong_metadata_is_refused(pair: str) -> None:
    with pytest.raises(RequestError, match="--metadata"):
        parse_metadata(["a=1", pair])
