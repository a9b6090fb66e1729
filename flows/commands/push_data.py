"""`hone data push`: a folder into a lakeFS branch, when its rows are valid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from configs.load import load_config
from flows.terminal import print_json, print_text
from tasks.records.runs import check_home

if TYPE_CHECKING:
    from tasks.push import PushResult


def push_data(
    *,
    folder: Path,
    repository: str,
    branch: str,
    message: str | None,
    metadata: list[str],
    path: str,
    delete: bool,
    preset: str | None,
    as_json: bool,
) -> int:
    """Push a folder and print what became of it.

    Returns:
        0: the branch holds it, also where it held everything already.
    """
    from tasks.push import push_folder
    from tasks.versioning.ingest import parse_metadata

    pairs = parse_metadata(metadata)
    data = load_config(preset).data if preset else None
    check_home()
    with show_progress(folder.name) as report:
        result = push_folder(
            folder,
            repository=repository,
            branch=branch,
            path=path,
            message=message,
            metadata=pairs,
            delete=delete,
            data=data,
            report=report,
        )
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show(result)
    return 0


def show(result: PushResult) -> None:
    """Print what a push did for a person."""
    if not result.changed:
        print_text(f"nothing changed: {result.source} holds these {result.unchanged} files")
    else:
        print_text(
            f"files    {result.added} added, {result.updated} changed, {result.removed} removed, "
            f"{result.unchanged} unchanged; {result.num_bytes:,} bytes sent"
        )
    if result.rows:
        rows = result.rows
        print_text(
            f"rows     {rows.read} read = {rows.kept} kept + {rows.invalid} invalid "
            f"+ {rows.filtered} filtered"
        )
    print_text(f"commit   {result.commit}")
    print_text(f"source   {result.source}")


@contextmanager
def show_progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of bytes on a terminal; elsewhere nothing."""
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    bar = Progress(
        *columns,
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        row = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(row, completed=done, total=total)
