"""How much disk space something takes, and how it is taken away without leaving halves."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

BLOCK_BYTES = 512  # the unit of st_blocks
TRASH = ".trash"


def measure_bytes(place: Path) -> int:
    """Return what a file or folder takes on the disk; links count nothing.

    A file with several names is left out: it is there as long as one of them is.
    """
    if place.is_symlink() or not place.exists():
        return 0
    if place.is_file():
        return _measure_file(place)
    total = 0
    for root, _, names in os.walk(place):
        total += sum(_measure_file(Path(root) / name) for name in names)
    return total


def _measure_file(file: Path) -> int:
    try:
        found = file.lstat()
    except FileNotFoundError:  # somebody works beside us
        return 0
    return found.st_blocks * BLOCK_BYTES if found.st_nlink == 1 else 0


def measure_files(folder: Path) -> int:
    """Return what the files of a folder take, each once, whatever other names they have."""
    found = [file.lstat() for file in folder.glob("*") if file.is_file()]
    return sum(file.st_blocks for file in found) * BLOCK_BYTES


def move_to_trash(place: Path, root: Path) -> Path | None:
    """Take something away by one rename, so that it is there as a whole or not at all.

    Args:
        place: A file or folder.
        root: A folder above it on the same disk; its `.trash` gets it.

    Returns:
        Where it is now; None where it was gone already.
    """
    trash = root / TRASH
    trash.mkdir(parents=True, exist_ok=True)
    target = trash / f"{secrets.token_hex(8)}-{place.name}"
    try:
        place.rename(target)
    except FileNotFoundError:
        return None
    return target


def empty_trash(root: Path) -> None:
    """Remove what was taken away, and what a killed removal left there."""
    shutil.rmtree(root / TRASH, ignore_errors=True)
