"""The one cache: HONE_HOME/cache/<stage>/<digest>/manifest.json, for every stage."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from configs.errors import RunError
from tasks.records.digests import digest_file, digest_value, list_files
from tasks.records.handles import Handle
from tasks.records.home import find_home
from tasks.records.locks import hold_lock
from tasks.records.writing import read_json, write_json

LOG = logging.getLogger("hone")
SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

HandleT = TypeVar("HandleT", bound=Handle)


def find_entry(stage: str, key: dict[str, Any]) -> Path:
    """Return the folder of a stage's result: its name is the digest of what determines it."""
    return find_home() / "cache" / stage / digest_value(key)[:32]


def read_entry(entry: Path, handle_type: type[HandleT]) -> HandleT | None:
    """Return the complete, undamaged result in `entry`, or None.

    A file that is missing or has another digest than the manifest says makes the entry worthless:
    it is named in the log and the stage runs again.

    Raises:
        RunError: The manifest was written by a newer hone.
    """
    if not (entry / MANIFEST).is_file():
        return None
    manifest = read_json(entry / MANIFEST)
    if manifest.get("schema_version", 0) > SCHEMA_VERSION:
        raise RunError(
            message=f"schema_version {manifest['schema_version']} was written by a newer hone",
            where=str(entry / MANIFEST),
            allowed=f"up to {SCHEMA_VERSION}",
            hint="update this clone, or use another HONE_HOME",
        )
    for name, digest in manifest["files"].items():
        if not (entry / name).is_file() or digest_file(entry / name) != digest:
            LOG.warning("%s: %s is missing or damaged; the stage runs again", entry, name)
            return None
    try:
        handle = handle_type.model_validate(manifest["handle"])
    except ValidationError as err:
        LOG.warning("%s: not readable by this version (%s); the stage runs again", entry, err)
        return None
    _note_use(entry)
    return handle.model_copy(update={"reused": True})


def _note_use(entry: Path) -> None:
    """Let `hone prune` see that a result was used just now, by the time of its lock file."""
    with suppress(OSError):  # a cache that cannot be written is never pruned
        entry.with_suffix(".lock").touch()


def write_entry(
    entry: Path, handle: Handle, key: dict[str, Any], exclude: tuple[str, ...] = ()
) -> None:
    """Write the manifest, last, so that its existence means that the stage is complete.

    Args:
        entry: The folder, with all its files in place.
        handle: What the stage returns.
        key: What determined the result, kept for people who ask why something ran again.
        exclude: Top-level names whose files may change later (checkpoints, logs).
    """
    names = [n for n in list_files(entry) if n != MANIFEST and n.split("/")[0] not in exclude]
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "handle": handle.model_dump(mode="json"),
        "key": key,
        "files": {name: digest_file(entry / name) for name in names},
    }
    write_json(entry / MANIFEST, manifest)


def reuse_or_build(
    stage: str,
    key: dict[str, Any],
    handle_type: type[HandleT],
    build: Callable[[Path], HandleT],
    *,
    keep_partial: bool = False,
    exclude: tuple[str, ...] = (),
) -> HandleT:
    """Return a stage's result from the cache, or build it while holding the entry's lock.

    Args:
        stage: The stage's name.
        key: What determines the result: inputs, settings, code, library versions.
        handle_type: The handle that the stage returns.
        build: Fills the folder that it is given and returns the handle.
        keep_partial: Whether a folder without a manifest is resumed (training) or emptied.
        exclude: Top-level names that are not part of the verified result.
    """
    entry = find_entry(stage, key)
    if found := read_entry(entry, handle_type):
        return found
    with hold_lock(entry.with_suffix(".lock"), f"{stage} {entry.name[:8]}"):
        if found := read_entry(entry, handle_type):  # somebody else built it while we waited
            return found
        if entry.exists() and not keep_partial:
            shutil.rmtree(entry)
        entry.mkdir(parents=True, exist_ok=True)
        (entry / MANIFEST).unlink(missing_ok=True)
        try:
            handle = build(entry)
        except BaseException:
            if not keep_partial:
                shutil.rmtree(entry, ignore_errors=True)
            raise
        write_entry(entry, handle, key, exclude)
        return handle
