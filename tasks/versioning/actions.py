"""The hooks of a repository that hone brings: put on a branch, and taken away again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import HoneError, RequestError
from tasks.records.handles import Record
from tasks.records.writing import write_text
from tasks.versioning.commits import list_objects
from tasks.versioning.ingest import find_head
from tasks.versioning.side_branches import commit_changes, merge_branch, open_side_branch
from tasks.versioning.uploads import (
    ACTIONS,
    compare_files,
    delete_objects,
    list_local_files,
    upload_files,
)

if TYPE_CHECKING:
    from lakefs.client import Client

SIDE_PREFIX = "hone-watch"


class ActionsChange(Record):
    """What became of a branch's action files."""

    commit: str
    """The branch's commit after it."""
    written: tuple[str, ...]
    """Paths that are new or other than before."""
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the branch had everything already."""
        return not self.written and not self.removed


def put_actions(
    client: Client, repository: str, branch: str, files: Mapping[str, str | None], where: str
) -> ActionsChange:
    """Commit action files to a branch, on a branch of their own that is merged.

    lakeFS parses every file when they are committed there, and asks a pre-merge hook among them
    when they are merged: what it refuses, or what does not answer, never reaches the branch.

    Args:
        client: The lakeFS client.
        repository: The repository.
        branch: The branch that gets them.
        files: Texts by name below `_lakefs_actions/`; None takes the file away.
        where: The command, for errors.

    Raises:
        RequestError: No such repository or branch, or lakeFS refuses the files.
        RunError: The server is away.
    """
    base = find_head(client, repository, branch, where)
    objects = list_objects(client, repository, base, f"{ACTIONS}/", where)
    gone = {f"{ACTIONS}/{name}" for name, text in files.items() if text is None}
    removed = tuple(sorted(found.path for found in objects if found.path in gone))
    texts = {name: text for name, text in files.items() if text is not None}
    with tempfile.TemporaryDirectory(prefix="hone-actions-") as folder:
        for name, text in texts.items():
            write_text(Path(folder) / name, text)
        local = list_local_files(Path(folder), f"{ACTIONS}/") if texts else []
        difference = compare_files(local, objects, f"{ACTIONS}/")
        written = tuple(file.path for file in difference.uploads)
        unchanged = tuple(file.path for file in difference.unchanged)
        if not written and not removed:
            return ActionsChange(commit=base, written=(), removed=(), unchanged=unchanged)
        message = f"{'Watch' if written else 'No longer watch'} {branch} with hone"
        with (
            _explain_hooks(where),
            open_side_branch(client, repository, base, SIDE_PREFIX, where) as side,
        ):
            upload_files(side, difference.uploads, where)
            delete_objects(side, removed, where)
            commit_changes(side, message, {}, where)
            merged = merge_branch(side, branch, message, {}, where)
    return ActionsChange(
        commit=merged or base, written=written, removed=removed, unchanged=unchanged
    )


@contextmanager
def _explain_hooks(where: str) -> Iterator[None]:
    """Say what a refusal by the files' own hooks means."""
    try:
        yield
    except HoneError as err:
        if "hook" not in err.message:
            raise
        raise RequestError(
            where=where,
            message=f"a hook refuses the action files: {err.message}",
            hint="see that the guard answers where --guard says, that the branch's rows are "
            "valid, and that the server has LAKEFS_ACTIONS_LUA_NET_HTTP_ENABLED=true",
        ) from err
