"""Whose a side branch is, told by its name: lakeFS keeps nothing else about a branch."""

from __future__ import annotations

import os
import platform
import re
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

from tasks.records.digests import digest_value

TIME_FORMAT = "%Y%m%dT%H%M%SZ"
OWNED = re.compile(r"(?P<time>\d{8}T\d{6}Z)-(?P<machine>[0-9a-f]{12})-(?P<pid>\d+)-[0-9a-f]{8}")
# Longer than any push: only this tells it for a branch of another machine.
MAX_AGE_SECONDS = 7 * 24 * 3600


def name_own_branch(prefix: str) -> str:
    """Return a new name that says when, on which machine and by which process it was made."""
    now = datetime.now(UTC).strftime(TIME_FORMAT)
    return f"{prefix}-{now}-{find_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


def is_abandoned(name: str, prefix: str) -> bool:
    """Tell whether the process that made a branch is gone for certain.

    A branch of this machine is abandoned when no process has its number any more; when another one
    got the number, the branch stays until then. Of other machines, and of this one before it was
    started anew, nothing can be asked: their branches are abandoned after seven days. Names that
    `name_own_branch` did not make never are. Whose branch is taken all the same (a push of more
    than seven days) fails at its next call, and the branch it was for is as it was.

    >>> is_abandoned("hone-ingest-by-hand", "hone-ingest")
    False
    """
    import psutil

    found = OWNED.fullmatch(name.removeprefix(f"{prefix}-"))
    if not found:
        return False
    if found["machine"] == find_machine():
        return not psutil.pid_exists(int(found["pid"]))
    made = datetime.strptime(found["time"], TIME_FORMAT).replace(tzinfo=UTC)
    return time.time() - made.timestamp() > MAX_AGE_SECONDS


def find_machine() -> str:
    """Return a name for what shares its process numbers: a machine, or a container on it."""
    marks = [platform.node()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.is_file():  # numbers start anew when the machine does
        marks.append(boot.read_text(encoding="ascii").strip())
    if namespace.is_symlink():  # containers may share the machine's name
        marks.append(str(namespace.readlink()))
    return digest_value(marks)[:12]
