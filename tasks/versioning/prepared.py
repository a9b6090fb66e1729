"""Prepared data on a branch of its own, which no run reads and the raw branch never sees."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.versioning.commits import (
    find_branch_head,
    find_first_commit,
    find_repository,
    list_objects,
)  # fmt: skip
from tasks.versioning.lakefs_client import LakeFSPath, call_with_retries, explain_lakefs_errors
from tasks.versioning.side_branches import commit_changes, merge_branch, open_side_branch
from tasks.versioning.uploads import list_local_files, upload_files

if TYPE_CHECKING:
    from lakefs.client import Client

BRANCH = "hone-prepared"
MARKER = "provenance.json"
"""The file that says what the others were made from; the commit that brings it brings them all."""


@dataclass(frozen=True)
class PreparedCommit:
    """Where prepared data lies."""

    uri: str
    commit: str
    was_there: bool


def find_prepared(client: Client, repository: str, path: str, where: str) -> PreparedCommit | None:
    """Return prepared data that was committed before, or None."""
    head = find_branch_head(client, repository, BRANCH, where)
    if head is None:
        return None
    found = list_objects(client, repository, head, f"{path}/{MARKER}", where)
    uri = LakeFSPath(repository, head, path).uri
    return PreparedCommit(uri, head, was_there=True) if found else None


def commit_prepared(
    client: Client,
    repository: str,
    path: str,
    folder: Path,
    *,
    raw_commit: str,
    metadata: dict[str, str],
    where: str,
) -> PreparedCommit:
    """Commit a folder of prepared data, all of it or nothing.

    Args:
        client: The lakeFS client.
        repository: The repository of the raw data.
        path: Where it goes, by its digest: what is there is never changed.
        folder: The files; `provenance.json` is one of them.
        raw_commit: The commit that it was made from.
        metadata: The commit's metadata.
        where: What asked for it, for errors.

    Raises:
        RequestError: The keys give no right to it.
        RunError: The server fails.
    """
    base = _open_branch(client, repository, raw_commit, where)
    message = f"Prepare {raw_commit[:12]}"
    with open_side_branch(client, repository, base, BRANCH, where) as side:
        upload_files(side, list_local_files(folder, f"{path}/"), where)
        commit_changes(side, message, metadata, where)
        merged = merge_branch(side, BRANCH, message, metadata, where)
    commit = merged or find_branch_head(client, repository, BRANCH, where) or base
    return PreparedCommit(LakeFSPath(repository, commit, path).uri, commit, was_there=False)


def _open_branch(client: Client, repository: str, raw_commit: str, where: str) -> str:
    """Return the branch's head; a new one begins at the first commit, which holds no data."""
    head = find_branch_head(client, repository, BRANCH, where)
    if head is not None:
        return head
    first = find_first_commit(client, repository, raw_commit, where)
    branch = find_repository(client, repository).branch(BRANCH)
    with explain_lakefs_errors(f"making the branch {BRANCH} in {repository}", where):
        call_with_retries(lambda: branch.create(first, exist_ok=True))
    return find_branch_head(client, repository, BRANCH, where) or first
