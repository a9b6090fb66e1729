"""Import large libraries without collecting garbage meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_collection() -> Iterator[None]:
    """Collect no garbage inside the block, and count what it leaves as permanent.

    Importing torch and transformers makes millions of objects that stay. Looking through them again
    and again takes a quarter of the time of the imports, and half a second of each later full
    collection, the one at the end of the process included.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
