"""The base model behind a published adapter: named, not copied, and verified when it is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from configs.errors import RequestError
from tasks.records.digests import digest_file, digest_files
from tasks.records.handles import PinnedModel, Record
from tasks.records.home import resolve_in_project

BASE_VARIABLE = "HONE_BASE_MODEL"
WEIGHT_PATTERNS = ("config.json", "*.safetensors", "*.safetensors.index.json")


class BaseReference(Record):
    """Where a base model is found again, and how it is recognised."""

    name: str
    """The hub id, or the folder's name."""
    revision: str
    """The hub's commit, or the content digest of a local model."""
    location: str
    """The absolute folder of a local model on the machine that published; empty for the hub's."""
    files: dict[str, str]
    """SHA-256 of each file of a local model's weights; empty for the hub's."""


def is_from_hub(base: PinnedModel) -> bool:
    """Return whether a base model came from the hub: its snapshot's folder bears the commit."""
    return resolve_in_project(base.location).name == base.revision


def name_base(base: PinnedModel) -> str:
    """Return the hub id of a base model, or the folder's name without this machine's path."""
    return base.name if is_from_hub(base) else resolve_in_project(base.location).name


def describe_base(base: PinnedModel) -> BaseReference:
    """Return how a published model names its base."""
    if is_from_hub(base):
        return BaseReference(name=base.name, revision=base.revision, location="", files={})
    folder = resolve_in_project(base.location)
    names = {path.name for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern)}
    return BaseReference(
        name=folder.name,
        revision=base.revision,
        location=str(folder),
        files=digest_files(folder, names),
    )


def find_base(base: BaseReference) -> tuple[str, str | None]:
    """Return where to load a base model from, and its revision on the hub.

    A local model that lies elsewhere on this machine is named by HONE_BASE_MODEL.

    Raises:
        RequestError: The folder is not there, or holds other weights.
    """
    named = os.environ.get(BASE_VARIABLE)
    if not base.files:
        return (named, None) if named else (base.name, base.revision)
    folder = Path(named or base.location)
    for name, digest in base.files.items():
        if not (folder / name).is_file() or digest_file(folder / name) != digest:
            raise RequestError(
                where=str(folder / name),
                message=f"not the file of the base model {base.name} that this model is made for",
                allowed=f"SHA-256 {digest}",
                hint=f"set {BASE_VARIABLE} to the folder that holds it",
            )
    return str(folder), None
