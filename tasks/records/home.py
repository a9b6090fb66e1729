"""HONE_HOME, the one folder that everything hone writes lies under, and the clone it runs from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def find_home() -> Path:
    """Return HONE_HOME as an absolute path (default: the current folder)."""
    return Path(os.environ.get("HONE_HOME") or ".").expanduser().resolve()


@contextmanager
def use_home(home: Path) -> Iterator[None]:
    """Let another folder be HONE_HOME in the block, for this process and those that it starts."""
    before = os.environ.get("HONE_HOME")
    home.mkdir(parents=True, exist_ok=True)
    os.environ["HONE_HOME"] = str(home)
    try:
        yield
    finally:
        del os.environ["HONE_HOME"]
        if before is not None:
            os.environ["HONE_HOME"] = before


def find_project() -> Path:
    """Return the clone that hone runs from; relative paths in a RunConfig start here."""
    return Path(__file__).resolve().parents[2]


def resolve_in_home(path: str) -> Path:
    """Return the absolute place of a handle's path, which is relative to HONE_HOME."""
    return find_home() / path


def resolve_in_project(path: str) -> Path:
    """Return the absolute place of a config's path: relative ones start at the clone."""
    return (find_project() / Path(path).expanduser()).resolve()
