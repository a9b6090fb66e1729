"""The files below a folder, none of them passed over unseen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from configs.errors import RequestError


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, in no order; links to folders are not followed.

    A link that leads nowhere is a file too: to open it says what is wrong, where passing over it
    would lose rows unseen.

    Raises:
        RequestError: A folder below it cannot be opened.
    """
    for root, _, names in os.walk(folder, onerror=_refuse_folder):
        for path in (Path(root) / name for name in names):
            if path.is_file() or (path.is_symlink() and not path.exists()):
                yield path


def refuse_file(name: str, err: OSError) -> RequestError:
    """Return the error of a file that is there and cannot be opened."""
    return RequestError(
        where=name,
        message=f"the file cannot be read ({err.strerror})",
        hint="mend its permissions or where its link leads, or leave it out with data.pattern",
    )


def _refuse_folder(err: OSError) -> None:
    raise RequestError(
        where=str(err.filename),
        message=f"the folder cannot be opened ({err.strerror})",
        hint="mend its permissions, or move it away",
    ) from err
