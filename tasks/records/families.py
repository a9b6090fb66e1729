"""Folders of runs that belong together: outputs/<kind>/<family>/<member>/."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Literal

from tasks.records.home import resolve_in_home
from tasks.records.runs import RunFolder, explain_disk
from tasks.records.writing import replace_link, write_text

FamilyKind = Literal["comparisons", "sweeps"]


def name_family() -> str:
    """Return a new family's name, unique and sorted by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def open_family(kind: FamilyKind, name: str) -> RunFolder:
    """Make the folder of a family, unless it is there, and point `latest` at it.

    Raises:
        RunError: There is no disk space.
    """
    family = RunFolder(path=f"outputs/{kind}/{name}")
    try:
        family.folder.mkdir(parents=True, exist_ok=True)
        replace_link(family.folder.parent / "latest", family.folder)
    except OSError as err:
        raise explain_disk(err) from err
    return family


def open_member(family: RunFolder, name: str, config_yaml: str) -> RunFolder:
    """Make the folder of one run of a family, with its resolved config, unless it is there.

    Raises:
        RunError: There is no disk space.
    """
    member = RunFolder(path=f"{family.path}/{name}", family=family.name)
    try:
        resolve_in_home(member.path).mkdir(exist_ok=True)
        write_text(member.folder / "config.yaml", config_yaml)
    except OSError as err:
        raise explain_disk(err) from err
    return member
