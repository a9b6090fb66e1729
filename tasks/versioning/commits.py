"""Commits of a lakeFS repository: what one says, its objects, its history, its tags."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tasks.records.handles import Record
from tasks.versioning.lakefs_client import call_with_retries, explain_lakefs_errors
from tasks.versioning.lakefs_errors import find_status, list_lakefs_errors

if TYPE_CHECKING:
    from lakefs.client import Client

PAGE = 1000  # the most that one request lists or deletes
METADATA_PREFIX = ".lakefs."  # what lakeFS itself adds to a commit's metadata


class CommitInfo(Record):
    """A commit as lakeFS tells it."""

    repository: str
    id: str
    author: str
    message: str
    created: str
    """UTC, ISO 8601."""
    metadata: dict[str, str]
    parents: tuple[str, ...]


class ObjectInfo(Record):
    """An object of a commit."""

    path: str
    num_bytes: int
    checksum: str
    """What lakeFS knows it by: equal objects have equal checksums."""
    metadata: dict[str, str] = Field(default={})


def find_repository(client: Client, repository: str) -> Any:
    """Return the client's view of a repository; nothing is sent."""
    from lakefs.repository import Repository

    return Repository(repository, client=client)


def read_commit(client: Client, repository: str, ref: str, where: str = "") -> CommitInfo:
    """Return the commit that a branch, tag or commit id names.

    Raises:
        RequestError: There is no such repository or ref, or the keys are wrong.
        RunError: The server is away.
    """
    name = f"{repository}/{ref}"
    with explain_lakefs_errors(f"reading the commit lakefs://{name}", where or name):
        found = call_with_retries(lambda: find_repository(client, repository).ref(ref).get_commit())
    return CommitInfo(
        repository=repository,
        id=found.id,
        author=found.committer,
        message=found.message,
        created=datetime.fromtimestamp(found.creation_date, UTC).isoformat(),
        metadata=clean_metadata(found.metadata),
        parents=tuple(found.parents),
    )


def clean_metadata(metadata: dict[str, str] | None) -> dict[str, str]:
    """Return a commit's metadata without what lakeFS itself adds."""
    return {k: v for k, v in (metadata or {}).items() if not k.startswith(METADATA_PREFIX)}


def find_branch_head(client: Client, repository: str, branch: str, where: str) -> str | None:
    """Return the commit that a branch is at, or None where there is no such branch."""
    head = find_repository(client, repository).branch(branch)
    with explain_lakefs_errors(f"reading the branch {branch} of {repository}", where):
        try:
            return str(call_with_retries(head.get_commit).id)
        except list_lakefs_errors() as err:
            if find_status(err) == 404:
                return None
            raise


def find_first_commit(client: Client, repository: str, commit: str, where: str) -> str:
    """Return the commit that a repository began with, which holds no data."""
    history = find_repository(client, repository).ref(commit)
    with explain_lakefs_errors(f"reading the history of {repository}", where):
        ids = call_with_retries(lambda: [e.id for e in history.log(amount=PAGE, first_parent=True)])
    return str(ids[-1]) if ids else commit


def list_objects(
    client: Client, repository: str, ref: str, prefix: str = "", where: str = ""
) -> list[ObjectInfo]:
    """Return the objects of a ref whose paths start with `prefix`, sorted by path."""
    reference = find_repository(client, repository).ref(ref)
    uri = f"lakefs://{repository}/{ref}/{prefix}"
    with explain_lakefs_errors(f"listing {uri}", where or uri):
        found = call_with_retries(lambda: list(reference.objects(prefix=prefix, amount=PAGE)))
    return [
        ObjectInfo(
            path=entry.path,
            num_bytes=entry.size_bytes or 0,
            checksum=entry.checksum,
            metadata={key.lower(): value for key, value in (entry.metadata or {}).items()},
        )
        for entry in found
    ]


def tag_commit(
    client: Client, repository: str, tag: str, commit: str
) -> Literal["created", "there", "elsewhere"]:
    """Tag a commit.

    Returns:
        `created`; `there`, when this commit has the tag already; `elsewhere`, when another one
        has it, which stays so.
    """
    from lakefs.exceptions import ConflictException

    with explain_lakefs_errors(f"tagging {repository} {commit[:12]} as {tag}", tag):
        named = find_repository(client, repository).tag(tag)
        try:
            call_with_retries(lambda: named.create(commit))
        except ConflictException:
            return "there" if call_with_retries(named.get_commit).id == commit else "elsewhere"
    return "created"
