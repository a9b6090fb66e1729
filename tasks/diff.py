"""Compare the rows of two data versions: lakeFS commits, folders, or commits in the store."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from configs.schema import DataConfig
from tasks.formatting.files.readers import SourceFile as RowFile
from tasks.formatting.files.readers import is_readable, read_rows
from tasks.records.handles import Record
from tasks.records.home import find_home
from tasks.versioning.comparison import Version, open_version, pair_single_files

if TYPE_CHECKING:
    from tasks.formatting.conversion.row_changes import RowKey


class FileChange(Record):
    """What became of a file and its rows."""

    file: str
    status: str
    """`added`, `removed` or `changed`."""
    added: int = 0
    removed: int = 0
    changed: int = 0
    unchanged: int = 0


class DataDiff(Record):
    """The difference between two data versions."""

    first: str
    """The older version, pinned to its commit."""
    second: str
    added: int
    """Rows."""
    removed: int
    changed: int
    """Rows with the prompt of a row of the first version, and another content."""
    files: tuple[FileChange, ...]
    """The files that are not equal, by name."""
    num_equal_files: int


def compare_versions(first: str, second: str, data: DataConfig) -> DataDiff:
    """Count the rows added, removed and changed between two data versions.

    Only files that are not equal are read; equal objects of lakeFS are told by their checksums.

    Args:
        first: The older version: `lakefs://REPOSITORY/REF/PATH`, a file or folder, or a commit in
            HONE_HOME's store.
        second: The newer version.
        data: How rows are understood: format, columns, roles.

    Raises:
        RequestError: One of them does not exist or cannot be read.
        RunError: The lakeFS server is away.
    """
    before = open_version(first, "FIRST", is_readable)
    after = open_version(second, "SECOND", is_readable)
    before = pair_single_files(before, after)
    names = sorted(
        name
        for name in {*before.digests, *after.digests}
        if before.digests.get(name) != after.digests.get(name)
    )
    with tempfile.TemporaryDirectory(dir=_make_cache(), prefix=".diff-") as folder:
        files = [_compare_file(name, before, after, data, Path(folder)) for name in names]
    return DataDiff(
        first=before.name,
        second=after.name,
        added=sum(file.added for file in files),
        removed=sum(file.removed for file in files),
        changed=sum(file.changed for file in files),
        files=tuple(files),
        num_equal_files=len({*before.digests} | {*after.digests}) - len(names),
    )


def _compare_file(
    name: str, before: Version, after: Version, data: DataConfig, folder: Path
) -> FileChange:
    from tasks.formatting.conversion.row_changes import compare_rows

    rows = compare_rows(
        _count_rows(name, before, data, folder), _count_rows(name, after, data, folder)
    )
    status = "changed" if name in before.digests and name in after.digests else "added"
    return FileChange(
        file=name,
        status=status if name in after.digests else "removed",
        added=rows.added,
        removed=rows.removed,
        changed=rows.changed,
        unchanged=rows.unchanged,
    )


def _count_rows(name: str, version: Version, data: DataConfig, folder: Path) -> Counter[RowKey]:
    from tasks.formatting.conversion.row_changes import count_keys

    if name not in version.digests:
        return Counter()
    place = version.names.get(name, name)
    copy = folder / f"rows-{Path(place).name}"
    version.source.copy_file(place, copy)
    if copy.stat().st_size == 0:
        return Counter()
    try:
        return count_keys(read_rows(RowFile(copy, f"{version.name}: {name}")), data)
    finally:
        copy.unlink()


def _make_cache() -> Path:
    cache = find_home() / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    return cache
