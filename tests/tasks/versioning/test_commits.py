from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from lakefs.branch import Branch
from urllib3.exceptions import ProtocolError

from configs.errors import RequestError, RunError
from tasks.versioning import lakefs_client
from tasks.versioning.commits import (
    find_branch_head,
    find_first_commit,
    open_side_branch,
    read_commit,
    tag_commit,
)
from tasks.versioning.lakefs_client import Retries, open_client
from tests.lakefs_server.faults import Fault
from tests.lakefs_server.fixture import describe_stand_in
from tests.lakefs_server.server import StandIn

if TYPE_CHECKING:
    from lakefs.repository import Repository


def commit_text(repository: Repository, path: str, message: str) -> str:
    branch = repository.branch("main")
    branch.object(path).upload(message.encode())
    return str(branch.commit(message, {"ticket": "7"}).id)


def test_a_commit_says_who_what_and_when(lakefs_repository: Repository) -> None:
    made = commit_text(lakefs_repository, "a.txt", "the first")
    found = read_commit(open_client(), lakefs_repository.id, "main")
    assert (found.id, found.message, found.metadata) == (made, "the first", {"ticket": "7"})
    assert found.author == "admin"
    assert found.created.endswith("+00:00")


def test_an_unknown_ref_is_a_wrong_request(lakefs_repository: Repository) -> None:
    with pytest.raises(RequestError, match="404"):
        read_commit(open_client(), lakefs_repository.id, "nope")
    assert find_branch_head(open_client(), lakefs_repository.id, "nope", "test") is None


def test_a_history_ends_with_the_empty_commit(lakefs_repository: Repository) -> None:
    first = lakefs_repository.branch("main").head.id
    for number in range(3):
        last = commit_text(lakefs_repository, f"{number}.txt", f"number {number}")
    assert find_first_commit(open_client(), lakefs_repository.id, last, "test") == first


def test_a_tag_stays_on_its_commit(lakefs_repository: Repository) -> None:
    one, two = (commit_text(lakefs_repository, f"{n}.txt", n) for n in ("one", "two"))
    client = open_client()
    assert tag_commit(client, lakefs_repository.id, "small-v1", one) == "created"
    assert tag_commit(client, lakefs_repository.id, "small-v1", one) == "there"
    assert tag_commit(client, lakefs_repository.id, "small-v1", two) == "elsewhere"
    assert read_commit(client, lakefs_repository.id, "small-v1").id == one


def test_a_side_branch_is_removed_also_after_an_error(lakefs_repository: Repository) -> None:
    client, name = open_client(), lakefs_repository.id
    names: list[str] = []

    def upload_and_stop() -> None:
        head = lakefs_repository.branch("main").head.id
        with open_side_branch(client, name, head, "side", "test") as side:
            names.append(side.name)
            side.branch.object("a.txt").upload(b"never committed")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload_and_stop()
    assert find_branch_head(client, name, names[0], "test") is None


def test_a_side_branch_that_cannot_be_removed_is_named(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lakefs_client, "RETRIES", Retries(2, 0.01, 0.02))
    repository = describe_stand_in(stand_in).create_repository()
    stand_in.faults.add(Fault("DELETE", "branches", status=500), times=2)
    with (
        caplog.at_level(logging.WARNING, "hone"),
        open_side_branch(open_client(), repository.id, "main", "side", "test") as side,
    ):
        pass
    assert f"the branch {side.name}" in caplog.text


def test_a_branch_whose_creation_was_not_answered_is_removed(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = describe_stand_in(stand_in).create_repository()
    create = Branch.create

    def lose_answer(self: Branch, *values: object, **options: object) -> None:
        create(self, *values, **options)
        raise ProtocolError("connection lost")

    monkeypatch.setattr(Branch, "create", lose_answer)
    with (
        pytest.raises(RunError, match="making the branch"),
        open_side_branch(open_client(), repository.id, "main", "test", "test"),
    ):
        pass
    assert [branch.id for branch in repository.branches(show_hidden=True)] == ["main"]


def test_a_branch_that_is_gone_is_not_left_behind(
    lakefs_repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    client, name = open_client(), lakefs_repository.id
    with open_side_branch(client, name, "main", "test", "test") as side:
        side.branch.delete()
    assert "left behind" not in caplog.text
