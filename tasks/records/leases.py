"""Leases: which processes use a HONE_HOME, so that nothing is removed under them."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from pathlib import Path

from filelock import FileLock

from tasks.records.home import find_home
from tasks.records.locks import hold_lock

_OWN: dict[Path, FileLock] = {}  # by HONE_HOME; a lock dies with its process


def find_gate() -> Path:
    """Return the lock that is held while something is taken away, and while a lease is made."""
    return find_home() / "cache" / ".prune.lock"


def take_lease() -> None:
    """Say that this process uses HONE_HOME, from now on until it ends.

    What it reads from the cache from here on is not removed, also between two stages, when no lock
    is held on it.
    """
    home = find_home()
    if home in _OWN:
        return
    with hold_lock(find_gate(), f"the entry to {home}"):
        find_oldest_lease()  # removes what dead processes left
        name = f"{time.time():.3f}-{os.getpid()}-{secrets.token_hex(3)}.lock"
        lock = FileLock(home / "cache" / ".leases" / name)
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    _OWN[home] = lock


def find_oldest_lease() -> float | None:
    """Return since when another process uses HONE_HOME (seconds since 1970), or None.

    Call it while holding `find_gate()`. What dead processes left is removed.
    """
    own = _OWN.get(find_home())
    starts = []
    for file in sorted((find_home() / "cache" / ".leases").glob("*.lock")):
        if own and Path(own.lock_file) == file:
            continue
        if is_locked(file):
            starts.append(float(file.name.split("-")[0]))
        else:
            file.unlink(missing_ok=True)
    return min(starts, default=None)


def is_locked(file: Path) -> bool:
    """Return whether somebody holds a lock; one that was never taken is free.

    The file is not changed by that: the time of a result's lock says when it was used.
    """
    try:
        descriptor = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
