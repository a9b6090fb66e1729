"""Branches beside those that others read: opened, committed to, merged, removed again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from configs.errors import RunError
from tasks.versioning.branch_owners import is_abandoned, name_own_branch
from tasks.versioning.commits import (
    PAGE,
    clean_metadata,
    find_repository,
    read_commit,
)  # fmt: skip
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


@dataclass(frozen=True)
class SideBranch:
    """A branch of one's own, beside the one that gets the result."""

    client: Client
    repository: str
    name: str

    @property
    def branch(self) -> Branch:
        """The client's view of it."""
        branch: Branch = find_repository(self.client, self.repository).branch(self.name)
        return branch


@contextmanager
def open_side_branch(
    client: Client, repository: str, base: str, prefix: str, where: str
) -> Iterator[SideBranch]:
    """Give a new branch on the commit `base`; it is removed at the end, however that comes.

    Uploads go to a branch's staging area until they are committed, and abandoned ones stay
    visible there: that is why nothing is ever uploaded to the branch that others read. A process
    that is killed cannot remove its branch: the next one with the same prefix does.
    """
    remove_abandoned_branches(client, repository, prefix)
    side = SideBranch(client, repository, name_own_branch(prefix))
    with explain_lakefs_errors(f"making the branch {side.name} in {repository}", where):
        try:
            # An earlier attempt may have made it, though its answer was lost: nobody else does.
            call_with_retries(lambda: side.branch.create(base, exist_ok=True, hidden=True))
        except list_lakefs_errors() as err:
            if is_transient(err):
                _remove_branch(side)
            raise
    try:
        yield side
    finally:
        _remove_branch(side)


def remove_abandoned_branches(client: Client, repository: str, prefix: str) -> None:
    """Remove the branches that processes of hone made with this prefix and cannot remove any more.

    Which those are, `branch_owners.is_abandoned` says. A failure is logged: what is left behind is
    in nobody's way.
    """
    branches = client.sdk_client.branches_api

    def list_names() -> list[str]:
        found = branches.list_branches(
            repository, prefix=f"{prefix}-", amount=PAGE, show_hidden=True
        )
        return [branch.id for branch in found.results]

    try:
        names = call_with_retries(list_names)
    except list_lakefs_errors() as err:
        reason = explain_failure(err, "listing its branches", repository, "the server")
        LOG.warning("branches that were left behind in %s stay: %s", repository, reason)
        return
    for name in names:
        if is_abandoned(name, prefix):
            LOG.info("removing the branch %s of %s: its owner is gone", name, repository)
            _remove_branch(SideBranch(client, repository, name))


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

    def find_head() -> str:
        return str(side.branch.get_commit().id)

    def commit() -> str | None:
        made = find_head()
        if made != before:  # by an earlier attempt whose answer was lost: the branch is ours alone
            return made
        reference = _unless_nothing_new(lambda: side.branch.commit(message, metadata))
        return None if reference is None else str(reference.id)

    with explain_lakefs_errors(f"committing to {side.repository}", where):
        before = call_with_retries(find_head)
        return call_with_retries(commit)


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

    before = read_commit(side.client, side.repository, target, where).id
    with explain_lakefs_errors(f"merging into {target} of {side.repository}", where):
        try:
            merged = call_with_retries(lambda: _unless_nothing_new(merge))
        except ConflictException as err:
            raise RunError(
                where=where,
                message=f"the same files were changed on {target} meanwhile",
                hint="look at the new commits there, then run again",
            ) from err
        return merged or call_with_retries(
            lambda: _find_commit_since(side, target, before, message, metadata)
        )


def _find_commit_since(
    side: SideBranch, target: str, before: str, message: str, metadata: dict[str, str]
) -> str | None:
    """Return the commit that an attempt made whose answer was lost, so that the next found nothing.

    None where the target had everything already.
    """
    history = find_repository(side.client, side.repository).ref(target)
    for entry in history.log(max_amount=PAGE, first_parent=True):
        if entry.id == before:
            break
        if entry.message == message and clean_metadata(entry.metadata) == metadata:
            return str(entry.id)
    return None


def _unless_nothing_new(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except list_lakefs_errors() as err:
        if find_status(err) == 400 and NOTHING_NEW in read_message(err):
            return None
        raise
