"""Locks between processes that die with their holder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOG = logging.getLogger("hone")
_HELD: dict[Path, int] = {}  # lock files held by this process, and their inodes


@contextmanager
def hold_lock(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on `path` (a kernel lock, released when the process dies).

    Args:
        path: The lock file; it is created and left in place.
        what: What is waited for, in words, for the log line when somebody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        LOG.info("another process holds %s; waiting for it", what)
        lock.acquire()
    _HELD[path] = path.stat().st_ino
    try:
        yield
    finally:
        del _HELD[path]
        lock.release()


def find_lost_lock() -> Path | None:
    """Return a lock file held by this process that is no longer there, or is another file now.

    Whoever asks for that lock next gets it, and both would work on the same entry.
    """
    for path, inode in list(_HELD.items()):
        try:
            is_there = path.stat().st_ino == inode
        except FileNotFoundError:
            is_there = False
        except OSError:
            continue  # a file server that is away for a moment has lost nothing
        if not is_there:
            return path
    return None
