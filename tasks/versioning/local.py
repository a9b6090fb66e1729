"""A local file or folder as a data source."""

from __future__ import annotations

import shutil
from pathlib import Path

from configs.errors import RequestError
from tasks.records.folders import refuse_file, walk_files
from tasks.versioning.sources import SourceFile


class LocalSource:
    """A file or folder on this machine; its commit is the digest of what was copied."""

    commit: str | None = None

    def __init__(self, uri: str, place: Path, where: str = "data.source") -> None:
        if not place.exists():
            raise RequestError(
                message=f"no file or folder {place}",
                where=f"{where}={uri}",
                allowed="an existing file or folder",
                hint="check the path; relative ones start at the preset's folder",
            )
        self.uri = uri
        self.is_single_file = place.is_file()
        self._root = place.parent if place.is_file() else place
        self._only = place.name if place.is_file() else None

    def list_files(self) -> list[SourceFile]:
        """Return all files that are not hidden, sorted by name."""
        if self._only:
            return [SourceFile(self._only, (self._root / self._only).stat().st_size)]
        names = (path.relative_to(self._root) for path in walk_files(self._root))
        visible = [n for n in names if not any(part.startswith(".") for part in n.parts)]
        return [
            SourceFile(name.as_posix(), _measure(self._root / name)) for name in sorted(visible)
        ]

    def copy_file(self, name: str, target: Path) -> None:
        """Copy one file's bytes to `target`.

        Raises:
            RequestError: The file may not be read, or is a link that leads nowhere.
        """
        try:
            with (self._root / name).open("rb"):
                pass
        except OSError as err:
            raise refuse_file(name, err) from err
        shutil.copyfile(self._root / name, target)


def _measure(path: Path) -> int:
    # Of a link that leads nowhere, its own: it is not empty, and copying it says what is wrong.
    return path.stat().st_size if path.exists() else path.lstat().st_size
