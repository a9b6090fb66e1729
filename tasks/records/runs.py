"""The run folder: outputs/runs/<UTC time>-<short id>/, with links to the stages' results."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from configs.errors import RequestError, RunError
from tasks.records.handles import Record
from tasks.records.home import find_home, resolve_in_home
from tasks.records.leases import take_lease
from tasks.records.writing import replace_link, write_json, write_text

WRITTEN_FOLDERS = ("outputs", "artifacts", "cache")


class RunFolder(Record):
    """One run's folder."""

    path: str
    """Relative to HONE_HOME."""
    family: str | None = None
    """The comparison or sweep that it belongs to."""

    @property
    def folder(self) -> Path:
        """The folder on this machine."""
        return resolve_in_home(self.path)

    @property
    def name(self) -> str:
        """The run's name, unique and sorted by time."""
        own = self.folder.name
        return f"{self.family}/{own}" if self.family else own


def check_home() -> None:
    """Make sure that HONE_HOME can be written, and that nothing is removed while it is used.

    Raises:
        RequestError: It, or a folder that hone writes in it, is a file or not writable.
    """
    home = find_home()
    for folder in (home, *(home / name for name in WRITTEN_FOLDERS)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError
        except FileExistsError as err:
            raise RequestError(
                message=f"{folder} is a file",
                where="HONE_HOME",
                allowed="a folder",
                hint="move it away, or set HONE_HOME to another folder",
            ) from err
        except PermissionError as err:
            raise RequestError(
                message=f"{folder} cannot be written",
                where="HONE_HOME",
                hint="set HONE_HOME to a folder of yours",
            ) from err
        except OSError as err:
            raise explain_disk(err) from err
    try:
        take_lease()
    except OSError as err:
        raise explain_disk(err) from err


def create_run_folder(config_yaml: str) -> RunFolder:
    """Create the folder of a new run, with its resolved config, and point `latest` at it.

    Raises:
        RunError: There is no disk space.
    """
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    run = RunFolder(path=f"outputs/runs/{name}")
    try:
        run.folder.mkdir(parents=True)
        write_text(run.folder / "config.yaml", config_yaml)
        replace_link(run.folder.parent / "latest", run.folder)
    except OSError as err:
        raise explain_disk(err) from err
    return run


def discard_run_folder(run: RunFolder) -> None:
    """Remove the folder of a run whose request was wrong; only links and the config are in it."""
    latest = run.folder.parent / "latest"
    shutil.rmtree(run.folder)  # removes links, never what they point to
    others = sorted(path for path in run.folder.parent.iterdir() if path != latest)
    if latest.is_symlink():
        latest.unlink()
    if others:
        replace_link(latest, others[-1])


def link_results(run: RunFolder, links: Mapping[str, Path]) -> None:
    """Link results in the cache into the run folder, by name."""
    for name, target in links.items():
        replace_link(run.folder / name, target)


def write_run_manifest(run: RunFolder, content: Mapping[str, Any]) -> None:
    """Write the run's manifest, last, so that its existence means that the run has ended well."""
    write_json(run.folder / "manifest.json", {"schema_version": 1, **content})


def explain_disk(err: OSError) -> RunError:
    """Return the error of a run folder that could not be written."""
    return RunError(
        message=f"the run folder could not be written: {err.strerror}",
        where=str(find_home() / "outputs"),
        hint="free some space, or set HONE_HOME to another disk, and run again",
    )
