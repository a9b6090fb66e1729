"""Split raw files into the folder layout that a run reads."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.conversion.partition import (
    FILES,
    Partition,
    SplitShares,
    list_left_out,
    partition_files,
)
from tasks.formatting.files.readers import SourceFile, is_readable
from tasks.records.writing import share_folder
from tasks.versioning.local import LocalSource
from tasks.versioning.selection import select_files


def split_files(
    source: Path, output: Path, *, shares: SplitShares, data: DataConfig, allow_invalid: bool
) -> Partition:
    """Split the rows of a file or folder by group; the output appears whole or not at all.

    Args:
        source: A file, or a folder without evaluation sets of its own.
        output: A folder that does not exist yet, or is empty.
        shares: How much of the groups goes where.
        data: How rows are understood and grouped.
        allow_invalid: Whether broken rows are left out; otherwise one of them is an error.

    Raises:
        RequestError: The output is there already, the source cannot be read, rows are broken, or
            no group fell to a split that was asked for.
    """
    check_output(output)
    files = find_files(source, data.pattern)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        partition = partition_files(files, temporary, shares=shares, data=data)
        _check_invalid(partition, allow_invalid)
        _check_shares(partition, shares)
        share_folder(temporary)
        temporary.replace(output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return partition


def find_files(source: Path, pattern: str | None) -> list[SourceFile]:
    """Return the files of rows at `source`.

    Raises:
        RequestError: There are none, or a folder brings evaluation sets already.
    """
    opened = LocalSource(str(source), source.resolve(), where="SOURCE")
    selection = select_files(
        opened.list_files(),
        pattern=pattern,
        is_single_file=opened.is_single_file,
        is_readable=is_readable,
        source=str(source),
    )
    if selection.evaluation:
        found = ", ".join(name for names in selection.evaluation.values() for name in names)
        raise RequestError(
            message=f"the folder has evaluation sets: {found}",
            where=str(source),
            allowed="rows that are not split yet",
            hint="name the training file instead of the folder",
        )
    root = source.parent if opened.is_single_file else source
    return [SourceFile(root / name, name) for name in selection.train]


def check_output(output: Path) -> None:
    """Refuse, before anything is read, an output that is there already.

    Raises:
        RequestError: It is a file, or a folder that holds something.
    """
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() or output.is_symlink():
        raise RequestError(
            message=f"{output} is there already",
            where="--output",
            allowed="a new folder, or an empty one",
        )


def _check_invalid(partition: Partition, allow_invalid: bool) -> None:
    broken = partition.left_out
    if broken and not allow_invalid:
        raise RequestError(
            message=f"{len(broken)} of {sum(partition.rows.values()) + len(broken)} rows are "
            "invalid",
            hint="mend them, or leave them out with --allow-invalid",
            problems=list_left_out(broken),
        )


def _check_shares(partition: Partition, shares: SplitShares) -> None:
    wanted = {"train", *(n for n in FILES if n != "train" and getattr(shares, n))}
    if missing := sorted(wanted - set(partition.rows)):
        raise RequestError(
            message=f"no group fell to {' and '.join(missing)}: there are "
            f"{sum(partition.groups.values())} groups of rows",
            allowed="at least one group for each split that is asked for",
            hint="bring more rows, ask for a larger share, or try another --version",
        )
