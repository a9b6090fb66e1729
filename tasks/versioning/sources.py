"""The one interface of a data source, and which source a `data.source` string names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from configs.errors import RequestError


@dataclass(frozen=True)
class SourceFile:
    """A file of a source: its path below the source, and its size in bytes."""

    name: str
    num_bytes: int


class Source(Protocol):
    """Raw data that can be listed and copied; opening a source pins what it shows."""

    uri: str
    commit: str | None
    """The commit that the source is pinned to, or None where the tree digest takes its place."""
    is_single_file: bool

    def list_files(self) -> Sequence[SourceFile]:
        """Return all files, sorted by name."""

    def copy_file(self, name: str, target: Path) -> None:
        """Copy one file's bytes to `target`."""


def open_source(uri: str, place: Path, where: str = "data.source") -> Source:
    """Return the source that `uri` names.

    Args:
        uri: The string in the config.
        place: Where it lies when it is a path.
        where: The config key that names it, for errors.

    Raises:
        RequestError: Nothing is there, or the scheme is not one that hone reads.
    """
    from tasks.versioning.local import LocalSource

    if "://" in uri:
        raise RequestError(
            message=f'"{uri}" has a scheme that this version does not read',
            where=where,
            allowed="a file or a folder",
            hint="fetch the data into a folder and name that",
        )
    return LocalSource(uri, place, where)
