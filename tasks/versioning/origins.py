"""Where the data of a run came from: its commit in lakeFS, or the files that were copied."""

from __future__ import annotations

from collections.abc import Mapping

from configs.errors import HoneError
from tasks.records.entries import MANIFEST
from tasks.records.handles import Record
from tasks.records.home import find_home
from tasks.records.writing import read_json
from tasks.versioning.commits import CommitInfo, ObjectInfo, list_objects, read_commit
from tasks.versioning.comparison import list_stored
from tasks.versioning.lakefs_client import SCHEME, open_client, parse_uri


class DataOrigin(Record):
    """A data commit with what is known about it."""

    source: str
    """What `data.source` said."""
    commit: str
    lakefs: CommitInfo | None = None
    """The commit in lakeFS; None for other data, and where `problem` says why."""
    objects: tuple[ObjectInfo, ...] = ()
    """What the commit holds under the source's path."""
    files: dict[str, str]
    """SHA-256 of each file that the run read, by its place among training and evaluation files."""
    problem: str = ""
    """What could not be found out, and why."""


def trace_data(
    source: str,
    commit: str,
    digest: str | None = None,
    recorded_files: Mapping[str, str] | None = None,
) -> DataOrigin:
    """Return what is known about a data commit, from lakeFS and from HONE_HOME's store.

    Args:
        source: The URI or path that was asked for.
        commit: The commit that it was pinned to.
        digest: The digest of the files that were read, where it is known.
        recorded_files: SHA-256 of the files that were read, where the run recorded them.
    """
    files = dict(recorded_files or {}) or _read_stored_files(source, commit, digest)
    origin = DataOrigin(source=source, commit=commit, files=files)
    if not source.startswith(SCHEME):
        problem = "" if files else "the store of HONE_HOME does not hold this data any more"
        return origin.model_copy(update={"problem": problem})
    try:
        client, place = open_client(), parse_uri(source)
        found = read_commit(client, place.repository, commit)
        objects = list_objects(client, place.repository, commit, place.path)
    except HoneError as err:
        return origin.model_copy(update={"problem": str(err)})
    under = tuple(o for o in objects if _is_under(o.path, place.path))
    return origin.model_copy(update={"lakefs": found, "objects": under})


def _read_stored_files(source: str, commit: str, digest: str | None) -> dict[str, str]:
    for stored in list_stored():
        # A later commit with the same tree is the same data: the store names the first one.
        is_same = stored.commit == commit if digest is None else stored.digest == digest
        if stored.source == source and is_same:
            manifest = read_json(find_home() / stored.path / MANIFEST)
            return {str(name): str(value) for name, value in sorted(manifest["files"].items())}
    return {}


def _is_under(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")
