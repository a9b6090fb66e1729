"""The end of a process whose parent is gone: two trainings must never write checkpoints at once."""

from __future__ import annotations

import os
import threading
import time

SECONDS_BETWEEN_LOOKS = 0.5
# A parent may be gone before its child can ask who it is, so it says so itself.
PARENT_VARIABLE = "HONE_PARENT_PID"


def follow(parent: int) -> None:
    """End this process when it is no longer the child of another.

    Args:
        parent: The other's process id.
    """
    threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
