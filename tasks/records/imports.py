"""Import large libraries without collecting garbage, and without what they only offer to use."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# transformers and nltk import these wherever they are installed, and go on without. Nothing that
# hone calls of them needs either; they take a fifth of the time of the imports.
NOT_NEEDED = ("scipy", "sklearn")


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


@contextmanager
def leave_out(*packages: str) -> Iterator[None]:
    """Let the libraries that are imported inside the block do without some packages.

    After the block the packages can be imported as ever.

    Args:
        packages: Top-level names. One that is imported already is left as it is.
    """
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type] # None: not to be found
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)
