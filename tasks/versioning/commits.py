"""Commits of a lakeFS repository: what one says, its objects, branches beside others, tags."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field

from configs.errors import RunError
from tasks.records.handles import Record
from tasks.versioning.lakefs_client import (
    call_with_retries,
    explain_lakefs_errors,
    is_transient,
)  # fmt: skip
from tasks.versioning.lakefs_errors import (
    explain_failure,
    find_status,
    list_lakefs_errors,
    read_message,
)

if TYPE_CHECKING:
    from lakefs.branch import Branch
    from lakefs.client import Client

T = TypeVar("T")

LOG = logging.getLogger("hone")
NOTHING_NEW = "no changes"  # lakeFS answers it with 400 to a commit or merge that adds nothing
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


@dataclass(frozen=True)
class SideBranch:
    """A branch of one's own, beside the one that gets the result."""

    client: Client
    repository: str
    name: str

    @property
    def branch(self) -> Branch:
        """The client's view of it."""
        return find_repository(self.client, self.repository).branch(self.name)


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
    metadata = found.metadata or {}
    return CommitInfo(
        repository=repository,
        id=found.id,
        author=found.committer,
        message=found.message,
        created=datetime.fromtimestamp(found.creation_date, UTC).isoformat(),
        metadata={k: v for k, v in metadata.items() if not k.startswith(METADATA_PREFIX)},
        parents=tuple(found.parents),
    )


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
        first = commit
        for entry in history.log(amount=PAGE, first_parent=True):
            first = entry.id
    return first


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


@contextmanager
def open_side_branch(
    client: Client, repository: str, base: str, prefix: str, where: str
) -> Iterator[SideBranch]:
    """Give a new branch on the commit `base`; it is removed at the end, however that comes.

    Uploads go to a branch's staging area until they are committed, and abandoned ones stay
    visible there: that is why nothing is ever uploaded to the branch that others read.
    """
    side = SideBranch(client, repository, f"{prefix}-{secrets.token_hex(4)}")
    with explain_lakefs_errors(f"making the branch {side.name} in {repository}", where):
        try:
            side.branch.create(base, hidden=True)
        except list_lakefs_errors() as err:
            if is_transient(err):  # it may be there, though the answer was lost
                _remove_branch(side)
            raise
    try:
        yield side
    finally:
        _remove_branch(side)


def _remove_branch(side: SideBranch) -> None:
    """Remove a branch; where that fails, say that it is left behind."""
    try:
        call_with_retries(side.branch.delete)
    except list_lakefs_errors() as err:
        if find_status(err) == 404:
            return
        reason = explain_failure(err, "removing it", side.name, "the server")
        LOG.warning("the branch %s of %s is left behind: %s", side.name, side.repository, reason)


def commit_changes(
    side: SideBranch, message: str, metadata: dict[str, str], where: str
) -> str | None:
    """Commit what was uploaded; return the commit's id, or None when it is nothing new."""
    with explain_lakefs_errors(f"committing to {side.repository}", where):
        reference = _unless_nothing_new(lambda: side.branch.commit(message, metadata))
    return None if reference is None else str(reference.id)


def merge_branch(
    side: SideBranch, target: str, message: str, metadata: dict[str, str], where: str
) -> str | None:
    """Merge a side branch as one commit; return its id, or None when it is nothing new.

    Raises:
        RunError: Somebody else changed the same files on the target meanwhile.
    """
    from lakefs.exceptions import ConflictException

    def merge() -> str:
        return str(
            side.branch.merge_into(target, message=message, metadata=metadata, squash_merge=True)
        )

    with explain_lakefs_errors(f"merging into {target} of {side.repository}", where):
        try:
            return _unless_nothing_new(merge)
        except ConflictException as err:
            raise RunError(
                where=where,
                message=f"the same files were changed on {target} meanwhile",
                hint="look at the new commits there, then run again",
            ) from err


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


def _unless_nothing_new(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except list_lakefs_errors() as err:
        if find_status(err) == 400 and NOTHING_NEW in read_message(err):
            return None
        raise
