from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from lakefs.branch import Branch
from urllib3.exceptions import ProtocolError

from configs.errors import RunError
from tasks.versioning import branch_owners, lakefs_client
from tasks.versioning.branch_owners import MAX_AGE_SECONDS, is_abandoned, name_own_branch
from tasks.versioning.commits import find_branch_head, read_commit
from tasks.versioning.lakefs_client import Retries, open_client
from tasks.versioning.side_branches import (
    SideBranch,
    commit_changes,
    merge_branch,
    open_side_branch,
)
from tests.lakefs_server.faults import Fault
from tests.lakefs_server.fixture import describe_stand_in
from tests.lakefs_server.server import StandIn

if TYPE_CHECKING:
    from lakefs.repository import Repository

# What a killed push leaves: its branch with an upload that nobody will commit.
KILLED = """
import os, signal, sys
from tasks.versioning.lakefs_client import open_client
from tasks.versioning.side_branches import open_side_branch
with open_side_branch(open_client(), sys.argv[1], "main", "side", "test") as side:
    side.branch.object("a.txt").upload(b"never committed")
    print(side.name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(lakefs_client, "RETRIES", Retries(2, 0.01, 0.02))
    return monkeypatch


def list_branches(repository: Repository) -> list[str]:
    return [branch.id for branch in repository.branches(show_hidden=True)]


def name_old_branch(prefix: str, seconds: float, machine: str = "0123456789ab") -> str:
    from datetime import UTC, datetime, timedelta

    made = datetime.now(UTC) - timedelta(seconds=seconds)
    return f"{prefix}-{made.strftime(branch_owners.TIME_FORMAT)}-{machine}-1-00c0ffee"


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
    stand_in: StandIn, hurried: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    repository = describe_stand_in(stand_in).create_repository()
    stand_in.faults.add(Fault("DELETE", "branches", status=500), times=2)
    with (
        caplog.at_level(logging.WARNING, "hone"),
        open_side_branch(open_client(), repository.id, "main", "side", "test") as side,
    ):
        pass
    assert f"the branch {side.name}" in caplog.text


@pytest.mark.parametrize("num_lost", [1, 9])
def test_a_branch_whose_creation_was_not_answered_is_made_once_or_removed(
    stand_in: StandIn, hurried: pytest.MonkeyPatch, num_lost: int
) -> None:
    repository = describe_stand_in(stand_in).create_repository()
    create, lost = Branch.create, [ProtocolError("connection lost")] * num_lost

    def lose_answer(self: Branch, *values: object, **options: object) -> None:
        create(self, *values, **options)
        if lost:
            raise lost.pop()

    hurried.setattr(Branch, "create", lose_answer)
    if num_lost == 1:
        with open_side_branch(open_client(), repository.id, "main", "test", "test") as side:
            assert list_branches(repository) == ["main", side.name]
    else:
        with (
            pytest.raises(RunError, match="making the branch"),
            open_side_branch(open_client(), repository.id, "main", "test", "test"),
        ):
            pass
    assert list_branches(repository) == ["main"]


def test_a_branch_that_is_gone_is_not_left_behind(
    lakefs_repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    client, name = open_client(), lakefs_repository.id
    with open_side_branch(client, name, "main", "test", "test") as side:
        side.branch.delete()
    assert "left behind" not in caplog.text


def test_the_branch_of_a_killed_process_is_removed_by_the_next(
    lakefs_repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, lakefs_repository.id],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    left = killed.stdout.strip()
    assert left, killed.stderr
    assert list_branches(lakefs_repository) == ["main", left]
    with (
        caplog.at_level(logging.INFO, "hone"),
        open_side_branch(open_client(), lakefs_repository.id, "main", "side", "test") as side,
    ):
        assert list_branches(lakefs_repository) == ["main", side.name]
    assert f"removing the branch {left}" in caplog.text


def test_branches_of_others_and_of_running_pushes_stay(lakefs_repository: Repository) -> None:
    client, name = open_client(), lakefs_repository.id
    elsewhere = name_old_branch("side", MAX_AGE_SECONDS - 60)
    forgotten = name_old_branch("side", MAX_AGE_SECONDS + 60)
    for branch in ("side-by-hand", elsewhere, forgotten):
        lakefs_repository.branch(branch).create("main", hidden=True)
    with (
        open_side_branch(client, name, "main", "side", "test") as one,
        open_side_branch(client, name, "main", "side", "test") as two,
    ):
        kept = {"main", "side-by-hand", elsewhere, one.name, two.name}
        assert set(list_branches(lakefs_repository)) == kept


def test_only_names_of_hones_own_making_are_ever_abandoned() -> None:
    own = name_own_branch("hone-ingest")
    assert f"-{os.getpid()}-" in own
    assert not is_abandoned(own, "hone-ingest")
    old = name_old_branch("hone-ingest", MAX_AGE_SECONDS + 60)
    assert is_abandoned(old, "hone-ingest")
    assert not is_abandoned(old, "hone-prepared")
    assert not is_abandoned("hone-ingest-0123abcd", "hone-ingest")


def test_branches_that_cannot_be_listed_stop_nobody(
    stand_in: StandIn, hurried: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    repository = describe_stand_in(stand_in).create_repository()
    stand_in.faults.add(Fault(path=r"/branches\?", status=500), times=2)
    with open_side_branch(open_client(), repository.id, "main", "side", "test"):
        pass
    assert "branches that were left behind" in caplog.text


@pytest.mark.parametrize("step", ["commit", "merge"])
def test_what_was_done_though_its_answer_was_lost_is_found(
    lakefs_repository: Repository, hurried: pytest.MonkeyPatch, step: str
) -> None:
    client, name = open_client(), lakefs_repository.id
    method = {"commit": "commit", "merge": "merge_into"}[step]
    call, lost = getattr(Branch, method), [ProtocolError("connection lost")]

    def lose_answer(self: Branch, *values: object, **options: object) -> object:
        answer = call(self, *values, **options)
        if lost:
            raise lost.pop()
        return answer

    hurried.setattr(Branch, method, lose_answer)
    with open_side_branch(client, name, "main", "side", "test") as side:
        side.branch.object("a.txt").upload(b"a")
        commit = commit_changes(side, "news", {"ticket": "7"}, "test")
        merged = merge_branch(side, "main", "news", {"ticket": "7"}, "test")
    assert not lost
    assert commit
    assert merged == read_commit(client, name, "main").id


def test_nothing_new_is_no_commit(lakefs_repository: Repository) -> None:
    client, name = open_client(), lakefs_repository.id
    with open_side_branch(client, name, "main", "side", "test") as side:
        assert isinstance(side, SideBranch)
        assert commit_changes(side, "m", {}, "test") is None
        assert merge_branch(side, "main", "m", {}, "test") is None
