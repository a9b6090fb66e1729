"""Digests: of values, files, folders, and of the code and library versions behind a result."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.records.home import find_project

CHUNK_BYTES = 1 << 20


def digest_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_value(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys, no spaces).

    >>> digest_value({"b": 1, "a": 2}) == digest_value({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of each named file below `folder`, by name, sorted."""
    return {name: digest_file(folder / name) for name in sorted(names)}


def list_files(folder: Path) -> list[str]:
    """Return the files below `folder` as sorted POSIX paths relative to it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def digest_folder(folder: Path) -> str:
    """Return one digest of all files below `folder`: their names and contents."""
    return digest_value(digest_files(folder, list_files(folder)))


@functools.cache
def digest_code(*packages: str) -> str:
    """Return the digest of the Python, Jinja and CSS sources of the named packages of this clone.

    A result in the stage cache is only reused by the code that would make it again.

    Args:
        packages: Dotted names of folders or modules, such as `tasks.formatting`.
    """
    root = find_project()
    sources: dict[str, str] = {}
    for package in packages:
        place = root / package.replace(".", "/")
        files = [place.with_suffix(".py")] if not place.is_dir() else sorted(place.rglob("*"))
        sources |= {
            file.relative_to(root).as_posix(): digest_file(file)
            for file in files
            if file.suffix in {".py", ".jinja", ".css"}
        }
    assert sources, f"no sources for {packages}"
    return digest_value(sources)


@functools.cache
def find_versions(*distributions: str) -> dict[str, str]:
    """Return the installed version of each distribution, without importing it."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
