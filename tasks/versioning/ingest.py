"""Bringing a folder into a lakeFS branch: on a branch of its own, merged when it was accepted."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import RequestError, RunError
from tasks.versioning.commits import list_objects, read_commit
from tasks.versioning.lakefs_client import (
    LakeFSPath,
    call_with_retries,
    explain_lakefs_errors,
)
from tasks.versioning.lakefs_errors import find_status, list_lakefs_errors
from tasks.versioning.lakefs_refs import pin_ref
from tasks.versioning.side_branches import commit_changes, merge_branch, open_side_branch
from tasks.versioning.uploads import (
    ACTIONS,
    Difference,
    compare_files,
    delete_objects,
    list_local_files,
    upload_files,
)

if TYPE_CHECKING:
    from lakefs.client import Client

LOG = logging.getLogger("hone")
SIDE_PREFIX = "hone-ingest"
RESERVED_METADATA = "hone."


@dataclass(frozen=True)
class Target:
    """Where a folder goes: below `prefix` on a branch, as it was at the commit `base`."""

    repository: str
    branch: str
    base: str
    prefix: str
    """Empty, or ending with a slash."""

    def locate(self, commit: str) -> str:
        """Return the URI of the data at a commit."""
        return LakeFSPath(self.repository, commit, self.prefix.rstrip("/")).uri.rstrip("/")


@dataclass(frozen=True)
class Ingest:
    """A folder, where it goes, and what that changes there."""

    folder: Path
    target: Target
    difference: Difference
    deletions: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the branch holds everything already."""
        return not self.difference.uploads and not self.deletions

    @property
    def num_bytes(self) -> int:
        """How much is sent."""
        return sum(file.num_bytes for file in self.difference.uploads)

    def describe(self) -> str:
        """Return the changes in words, for a commit's message."""
        added, changed = len(self.difference.added), len(self.difference.changed)
        return f"{added} files added, {changed} changed, {len(self.deletions)} removed"


def plan_ingest(
    client: Client, folder: Path, *, repository: str, branch: str, path: str, delete: bool
) -> Ingest:
    """Compare a folder with what a branch holds below a path.

    Args:
        client: The lakeFS client.
        folder: The folder; hidden files stay out.
        repository: The repository.
        branch: The branch that gets the result.
        path: Where the files go; empty for the top of the repository.
        delete: Whether objects that the folder does not have are deleted.

    Raises:
        RequestError: No such folder, repository or branch, or the keys are wrong.
        RunError: The server is away.
    """
    prefix = f"{path.strip('/')}/" if path.strip("/") else ""
    _require_data_path(prefix)
    where = name_command(folder)
    files = list_local_files(folder, prefix)
    base = find_head(client, repository, branch, where)
    objects = list_objects(client, repository, base, prefix, where)
    difference = compare_files(files, objects, prefix)
    return Ingest(
        folder=folder,
        target=Target(repository, branch, base, prefix),
        difference=difference,
        deletions=difference.absent if delete else (),
    )


def _require_data_path(prefix: str) -> None:
    if prefix.startswith(f"{ACTIONS}/"):
        raise RequestError(
            where=f"--path {prefix}",
            message=f"{ACTIONS}/ holds the repository's hooks, which lakeFS runs: no data",
            allowed="another path, or none for the top of the repository",
            hint=f"upload a hook by `lakectl fs upload lakefs://REPOSITORY/BRANCH/{ACTIONS}/NAME`",
        )


def find_head(client: Client, repository: str, branch: str, where: str) -> str:
    """Return the commit of a branch; tags, commits and `main~1` are no place for new ones."""
    base = pin_ref(client, LakeFSPath(repository, branch, ""), where).ref
    with explain_lakefs_errors(f"reading the branch {branch} of {repository}", where):
        try:
            call_with_retries(lambda: client.sdk_client.branches_api.get_branch(repository, branch))
        except list_lakefs_errors() as err:
            if find_status(err) in {400, 404}:
                raise RequestError(
                    where=where,
                    message=f"{branch} of {repository} is a commit or tag, not a branch",
                    allowed="--branch with the name of an existing branch",
                ) from err
            raise
    return base


def ingest_folder(
    client: Client,
    ingest: Ingest,
    *,
    message: str,
    metadata: dict[str, str],
    accept: Callable[[str], dict[str, str]],
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> str:
    """Send what is new, have the commit accepted, and merge it as one commit.

    The branch never sees anything that was not accepted: whatever fails or is refused, only the
    ingest's own branch had it, and that is removed.

    Args:
        client: The lakeFS client.
        ingest: What to send; something.
        message: The commit's message.
        metadata: The commit's metadata.
        accept: Gets the commit to merge and raises where it is not to be merged; what it returns
            is added to the metadata. Where the branch moved in the moment of the merge, it gets
            the merged commit too.
        report: Called with the bytes sent so far and their total.

    Returns:
        The branch's new commit; the old one where lakeFS found nothing new.

    Raises:
        RequestError: What `accept` raises.
        RunError: The branch moved meanwhile, or the server failed. Only where it moved in the
            moment of the merge, and what came of it is not accepted, is it changed.
    """
    target, where = ingest.target, name_command(ingest.folder)
    with open_side_branch(client, target.repository, target.base, SIDE_PREFIX, where) as side:
        upload_files(side, ingest.difference.uploads, where, report)
        delete_objects(side, ingest.deletions, where)
        commit = commit_changes(side, message, metadata, where)
        if commit is None:
            return target.base
        metadata = metadata | accept(commit)
        _check_unmoved(client, target, where)
        merged = merge_branch(side, target.branch, message, metadata, where)
    if merged is None:
        return target.base
    _settle_merge(client, target, merged, accept, where)
    return merged


def parse_metadata(pairs: list[str]) -> dict[str, str]:
    """Return `KEY=VALUE` strings as a dictionary.

    Raises:
        RequestError: One has no key, comes twice, or is one of hone's own.

    >>> parse_metadata(["ticket=42", "note=a=b"])
    {'ticket': '42', 'note': 'a=b'}
    """
    metadata: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise RequestError(where="--metadata", message=f'"{pair}"', allowed="KEY=VALUE")
        if key in metadata:
            raise RequestError(where="--metadata", message=f"{key} is given twice")
        if key.startswith((RESERVED_METADATA, ".lakefs.")):
            raise RequestError(
                where="--metadata", message=f"{key} is written by hone", allowed="another key"
            )
        metadata[key] = value
    return metadata


def name_command(folder: Path) -> str:
    """Return how errors name what was asked for."""
    return f"hone data push {os.fspath(folder)}"


def _check_unmoved(client: Client, target: Target, where: str) -> None:
    """Require that the branch is where it was: only together with that was the data accepted."""
    found = read_commit(client, target.repository, target.branch, where).id
    if found != target.base:
        raise RunError(
            where=where,
            message=f"{target.branch} moved from {target.base[:12]} to {found[:12]} meanwhile",
            hint="run again: the rows are validated together with the new ones",
        )


def _settle_merge(
    client: Client,
    target: Target,
    merged: str,
    accept: Callable[[str], dict[str, str]],
    where: str,
) -> None:
    """Have the merged commit accepted too, where somebody else's commit came just before it.

    lakeFS cannot be asked to merge onto one commit and no other; its merge commit says by its
    parent what it was merged onto.
    """
    parents = read_commit(client, target.repository, merged, where).parents
    if parents == (target.base,):
        return
    moved = f"{target.branch} moved from {target.base[:12]} to {parents[0][:12]}"
    try:
        accept(merged)
    except RequestError as err:
        place = f"lakefs://{target.repository}/{target.branch}"
        raise RunError(
            where=where,
            message=f"{moved} in the moment of the merge; the commit {merged[:12]} is on the "
            f"branch, and its rows are valid apart but not together: {err.message}",
            hint=f"undo it by `lakectl branch revert {place} {merged}`, then push again",
            problems=err.problems,
        ) from err
    LOG.warning("%s in the moment of the merge; the rows are valid together too", moved)
