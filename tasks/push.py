"""Push a folder of rows to a lakeFS branch, which gets them only when the ledger accepts them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.files.readers import is_readable
from tasks.records.handles import Record, RowCounts
from tasks.records.home import find_home, resolve_in_project
from tasks.records.observer import SilentObserver
from tasks.versioning.ingest import Ingest, ingest_folder, name_command, plan_ingest
from tasks.versioning.lakefs_client import open_client
from tasks.versioning.snapshot import take_snapshot
from tasks.versioning.store import link_tree

LOG = logging.getLogger("hone")


class PushResult(Record):
    """What a push did."""

    source: str
    """The URI of the data, as `data.source` takes it."""
    commit: str
    """The branch's commit after the push."""
    changed: bool
    """False where the branch held everything already."""
    added: int
    """Files that the branch did not have."""
    updated: int
    """Files that it had otherwise."""
    removed: int
    """Files that were deleted."""
    unchanged: int
    num_bytes: int
    """Bytes that were sent."""
    rows: RowCounts | None
    """The rows of all files below the path, when they were validated."""


def push_folder(
    folder: Path,
    *,
    repository: str,
    branch: str,
    path: str = "",
    message: str | None = None,
    metadata: dict[str, str] | None = None,
    delete: bool = False,
    data: DataConfig | None = None,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> PushResult:
    """Send what is new to a branch of its own, validate the rows there, and merge it.

    Args:
        folder: The folder.
        repository: The lakeFS repository.
        branch: The branch that gets the result.
        path: Where the files go in the repository.
        message: The commit's message; by default what changed.
        metadata: The commit's metadata.
        delete: Whether files that the folder does not have are deleted.
        data: How the rows are read; by default as the schema says.
        report: Called with the bytes sent so far and their total.

    Raises:
        RequestError: The rows are not accepted (the branch is as it was), or the request is wrong.
        RunError: The server failed on the way.
    """
    client = open_client()
    ingest = plan_ingest(
        client, folder, repository=repository, branch=branch, path=path, delete=delete
    )
    if ingest.is_empty:
        return _describe(ingest, ingest.target.base, None)
    counts: list[RowCounts] = []

    def accept(commit: str) -> dict[str, str]:
        counts.append(validate_commit(ingest, commit, data or DataConfig()))
        return {f"hone.rows_{name}": str(n) for name, n in counts[-1].model_dump().items() if n}

    commit = ingest_folder(
        client,
        ingest,
        message=message or f"Push {folder.resolve().name}: {ingest.describe()}",
        metadata=metadata or {},
        accept=accept,
        report=report,
    )
    return _describe(ingest, commit, counts[-1] if counts else None)


def validate_commit(ingest: Ingest, commit: str, data: DataConfig) -> RowCounts:
    """Read a commit as a run would, and account for every row.

    Raises:
        RequestError: Too many rows are invalid, or the data cannot be used at all.
    """
    try:
        return validate_source(ingest.target.locate(commit), data)
    except RequestError as err:
        raise RequestError(
            where=name_command(ingest.folder),
            message=f"refused, {ingest.target.branch} is as it was: {err.message}",
            allowed=err.allowed,
            hint=err.hint,
            problems=err.problems or ((err.where,) if err.where else ()),
        ) from err


def validate_source(source: str, data: DataConfig) -> RowCounts:
    """Read a source as a run would, and account for every row.

    Args:
        source: A folder, or a URI at a commit, which takes the place of `data.source`.
        data: How the rows are read.

    Raises:
        RequestError: Too many rows are invalid, or the data cannot be used at all.
        RunError: The server is away.
    """
    blobs = find_home() / "cache" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    snapshot = take_snapshot(
        source,
        locate=resolve_in_project,
        pattern=data.pattern,
        eval_sources={},
        is_readable=is_readable,
        blobs=blobs,
    )
    with tempfile.TemporaryDirectory(dir=blobs.parent, prefix=".push-") as folder:
        pinned, work = Path(folder) / "pinned", Path(folder) / "work"
        link_tree(snapshot.tree, blobs, pinned)
        return check_rows(pinned, work, data)


def check_rows(folder: Path, work: Path, data: DataConfig) -> RowCounts:
    """Account for the rows of pinned files (`train/`, `eval/SET/`) as the format stage does.

    Everything is checked that needs no tokenizer: files, rows, cleaning, duplicates, overlap.

    Args:
        folder: The files.
        work: A folder for what does not fit the memory.
        data: How the rows are read.

    Raises:
        RequestError: With the first problems.
    """
    from tasks.formatting.intake.data_intake import read_sources
    from tasks.formatting.ledger import check_invalid_rows, count_rows
    from tasks.formatting.splits.assignments import start_assignments
    from tasks.formatting.splits.placing import place_intake

    intake = read_sources(folder, data, work / "rows", SilentObserver())
    check_invalid_rows(intake.tally, data.max_invalid_fraction)
    placed = place_intake(intake, data, start_assignments(data.split_version), work)
    num_filtered = int((placed.placement.reason != 0).sum())
    rows = count_rows(intake.tally)
    return rows.model_copy(
        update={"kept": rows.kept - num_filtered, "filtered": rows.filtered + num_filtered}
    )


def _describe(ingest: Ingest, commit: str, rows: RowCounts | None) -> PushResult:
    changed = commit != ingest.target.base
    difference = ingest.difference
    return PushResult(
        source=ingest.target.locate(ingest.target.branch),
        commit=commit,
        changed=changed,
        added=len(difference.added) if changed else 0,
        updated=len(difference.changed) if changed else 0,
        removed=len(ingest.deletions) if changed else 0,
        unchanged=len(difference.unchanged),
        num_bytes=ingest.num_bytes,
        rows=rows,
    )
