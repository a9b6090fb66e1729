"""The content-addressed store: each file's bytes once, and trees of links to them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tasks.records.digests import digest_file, digest_value
from tasks.versioning.sources import BulkSource, Source


def store_files(source: Source, names: Sequence[str], blobs: Path) -> dict[str, str]:
    """Bring files' bytes into `blobs`, and return their SHA-256 by name."""
    if isinstance(source, BulkSource):
        return source.fetch_files(names, blobs)
    return {name: store_file(source, name, blobs) for name in names}


def store_file(source: Source, name: str, blobs: Path) -> str:
    """Copy a file's bytes into `blobs` under their SHA-256, and return it.

    The digest is taken from the copy, so that an edit of the source in the meantime cannot make a
    blob lie about its content.
    """
    blobs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=blobs, prefix=".incoming-") as folder:
        copy = Path(folder) / "blob"
        source.copy_file(name, copy)
        digest = digest_file(copy)
        copy.chmod(0o444)
        blob = blobs / digest
        if not blob.exists() or digest_file(blob) != digest:
            copy.replace(blob)
    return digest


def digest_tree(tree: dict[str, str]) -> str:
    """Return the digest of a tree (path to file digest): the commit id of a local source."""
    return digest_value(tree)


def link_tree(tree: dict[str, str], blobs: Path, folder: Path) -> None:
    """Lay out a tree of files below `folder` as hard links to blobs (copies where links fail)."""
    for name, digest in sorted(tree.items()):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(blobs / digest, target)
        except OSError:
            shutil.copyfile(blobs / digest, target)
