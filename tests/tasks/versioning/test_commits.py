from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from configs.errors import RequestError
from tasks.versioning.commits import (
    find_branch_head,
    find_first_commit,
    read_commit,
    tag_commit,
)  # fmt: skip
from tasks.versioning.lakefs_client import open_client

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
