"""Where the splits given to the rows of a data source are kept from run to run."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tasks.formatting.splits.assignments import Assignments, read_assignments, start_assignments
from tasks.records.digests import digest_bytes, digest_file
from tasks.records.home import find_home
from tasks.records.writing import open_atomic, write_text

ASSIGNMENTS = "assignments.parquet"
LAKEFS_REF = re.compile(r"^(lakefs://[^/]+)/[^/]+")
HUB_REVISION = re.compile(r"^(hf://[^@]+)@[^/]+")
SLUG_CHARS = 40


@dataclass(frozen=True)
class SplitStore:
    """The stored splits of one data source, for one `data.split_version`."""

    folder: Path
    split_version: int

    @property
    def file(self) -> Path:
        """The newest assignments; they hold all earlier ones."""
        return self.folder / f"version-{self.split_version}.parquet"

    @property
    def lock(self) -> Path:
        """The lock to hold from reading the assignments to storing what became of them."""
        return self.folder / f"version-{self.split_version}.lock"

    def read(self) -> Assignments:
        """Return the splits given so far.

        Raises:
            RunError: The file is damaged.
        """
        if self.file.is_file():
            return read_assignments(self.file)
        return start_assignments(self.split_version)

    def digest(self) -> str:
        """Return the digest of the splits given so far."""
        return digest_file(self.file) if self.file.is_file() else ""

    def recall(self, request: str) -> str | None:
        """Return the digest of the assignments that a request was first answered with, if it was.

        The same request finds the same result again, although assignments have grown since.
        """
        path = self._find_request(request)
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def store(self, request: str, answered_with: str, assignments: Path) -> None:
        """Keep what became of the assignments, and which ones a request was answered with."""
        if self.digest() == answered_with:  # else they are in already: it was stored before
            with open_atomic(self.file, "wb") as file, assignments.open("rb") as new:
                shutil.copyfileobj(new, file)
        write_text(self._find_request(request), answered_with)

    def _find_request(self, request: str) -> Path:
        return self.folder / "requests" / request[:32]


def find_store(source: str, split_version: int) -> SplitStore:
    """Return the store of a data source, the same for all its versions.

    Args:
        source: Its path, or its URI.
        split_version: `data.split_version`.
    """
    name = drop_version(source)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[-SLUG_CHARS:].strip("-")
    folder = f"{slug}-{digest_bytes(name.encode())[:8]}"
    return SplitStore(find_home() / "splits" / folder, split_version)


def drop_version(source: str) -> str:
    """Return a source without the version that its URI names.

    >>> drop_version("lakefs://shop/main/chats"), drop_version("hf://org/chats@v2")
    ('lakefs://shop/chats', 'hf://org/chats')
    """
    return HUB_REVISION.sub(r"\1", LAKEFS_REF.sub(r"\1", source))
