"""Locks between processes that die with their holder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOG = logging.getLogger("hone")


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
    try:
        yield
    finally:
        lock.release()
