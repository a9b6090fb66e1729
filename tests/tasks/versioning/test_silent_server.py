"""A server that takes connections and never answers: every call ends by itself."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from configs.errors import RunError
from tasks.versioning import lakefs_client
from tasks.versioning.commits import (
    find_branch_head,
    find_first_commit,
    list_objects,
    read_commit,
    tag_commit,
)
from tasks.versioning.lakefs_client import Retries, explain_lakefs_errors, open_client
from tasks.versioning.side_branches import (
    SideBranch,
    commit_changes,
    merge_branch,
    open_side_branch,
)
from tasks.versioning.sources import open_source
from tasks.versioning.uploads import LocalFile, delete_objects, upload_files
from tests.lakefs_server.fixture import VARIABLES

ATTEMPTS, READ_SECONDS = 2, 0.1


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """The connections that a silent server took; the environment leads to it."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name, value in zip(VARIABLES, (address, "key", "secret"), strict=True):
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(lakefs_client, "RETRIES", Retries(ATTEMPTS, 0.01, 0.02))
        monkeypatch.setattr(lakefs_client, "TIMEOUT_SECONDS", (1, READ_SECONDS))

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield taken
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in taken:
        connection.close()


def make_side() -> SideBranch:
    return SideBranch(open_client(), "repo", "side")


def enter_side_branch() -> None:
    with open_side_branch(open_client(), "repo", "main", "side", "test"):
        pass


def call_directly() -> None:
    with explain_lakefs_errors("trying", "test"):
        make_side().branch.commit("m")


def upload(place: Path) -> None:
    place.write_bytes(b"abc")
    upload_files(make_side(), [LocalFile(place, "a", 3, "0" * 64)], "test")


CALLS: dict[str, tuple[Callable[[], object], int]] = {
    "commit": (lambda: read_commit(open_client(), "repo", "main"), ATTEMPTS),
    "head": (lambda: find_branch_head(open_client(), "repo", "main", "test"), ATTEMPTS),
    "history": (lambda: find_first_commit(open_client(), "repo", "main", "test"), ATTEMPTS),
    "objects": (lambda: list_objects(open_client(), "repo", "main"), ATTEMPTS),
    "tag": (lambda: tag_commit(open_client(), "repo", "v1", "main"), ATTEMPTS),
    "source": (lambda: open_source("lakefs://repo/main/a", Path()), ATTEMPTS),
    "side": (enter_side_branch, 3 * ATTEMPTS),
    "committing": (lambda: commit_changes(make_side(), "m", {}, "test"), ATTEMPTS),
    "merging": (lambda: merge_branch(make_side(), "main", "m", {}, "test"), ATTEMPTS),
    "deleting": (lambda: delete_objects(make_side(), ["a"], "test"), ATTEMPTS),
    "directly": (call_directly, 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_up(connections: list[socket.socket], name: str) -> None:
    call, num_requests = CALLS[name]
    start = time.monotonic()
    with pytest.raises(RunError, match="does not answer"):
        call()
    assert time.monotonic() - start < 4
    assert len(connections) == num_requests


def test_an_upload_gives_up(connections: list[socket.socket], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not answer"):
        upload(tmp_path / "a")
