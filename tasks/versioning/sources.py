"""The one interface of a data source, and which source a `data.source` string names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from configs.errors import RequestError

HUB_SCHEME = "hf://"
Pins = dict[tuple[str, str], str]
"""Commit ids by repository and ref, so that all sources of a run read the same commit of a ref."""


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


@runtime_checkable
class BulkSource(Protocol):
    """A source that brings many files at once faster than one after the other."""

    def fetch_files(self, names: Sequence[str], blobs: Path) -> dict[str, str]:
        """Bring files' bytes into the store, and return their SHA-256 by name."""


def open_source(
    uri: str, place: Path, where: str = "data.source", pins: Pins | None = None
) -> Source:
    """Return the source that `uri` names.

    Args:
        uri: The string in the config.
        place: Where it lies when it is a path.
        where: The config key that names it, for errors.
        pins: The commits of refs that were pinned before; new ones are added.

    Raises:
        RequestError: Nothing is there, or the scheme is not one that hone reads.
    """
    from tasks.versioning.local import LocalSource

    if uri.startswith("lakefs://"):
        from tasks.versioning.lakefs_source import LakeFSSource

        return LakeFSSource(uri, where, pins)
    if uri.startswith(HUB_SCHEME):
        from tasks.versioning.hub_source import HubSource

        return HubSource(uri, where, pins)
    if "://" in uri:
        raise RequestError(
            message=f'"{uri}" has a scheme that this version does not read',
            where=where,
            allowed="a file, a folder, lakefs://REPOSITORY/REF/PATH, or hf://NAME@REVISION",
            hint="fetch the data into a folder and name that",
        )
    return LocalSource(uri, place, where)
