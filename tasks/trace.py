"""Trace a model that a person names back to its registered version and to the run that made it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import HoneError, RequestError
from configs.load import load_config
from tasks.keep import describe_run
from tasks.publishing import local
from tasks.publishing.model_versions import CHAMPION
from tasks.publishing.version_records import (
    RUN_TAG,
    VersionRecord,
    has_champion,
    read_records,
    read_registered,
)
from tasks.records.handles import Publication
from tasks.records.home import find_home, resolve_in_home
from tasks.records.results import read_handles
from tasks.records.writing import read_json
from tasks.tracking.provenance import Provenance, read_provenance
from tasks.tracking.runs import find_run, read_run
from tasks.tracking.store import open_client

ALLOWED = (
    "a published model, models:/NAME@ALIAS, models:/NAME/VERSION, a run folder, or a run's name"
)
RUN_CONFIG, RUN_MANIFEST = "config.yaml", "manifest.json"
RUN_KINDS = ("runs", "comparisons", "sweeps")


@dataclass
class Trace:
    """What was found of a model: its version, its run, and what is not known about them."""

    run: str
    """The name of the run that trained it; empty where nothing tells."""
    version: VersionRecord | None = None
    folder: Path | None = None
    """The run's folder on this machine."""
    run_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    """Of the MLflow run."""
    record: Provenance | None = None
    problems: list[str] = field(default_factory=list)
    """What could not be found out, and why."""


def trace_model(model: str) -> Trace:
    """Find what is known about a model, in MLflow first: its answer is the same on every machine.

    Args:
        model: The name of a published model, `models:/NAME@ALIAS`, a version's folder, a run folder
            or what lies in it, or the name of a run whose folder is gone.

    Raises:
        RequestError: There is no such model, or it is not one that hone made.
        RunError: The registry does not answer.
    """
    trace = _start_trace(model)
    trace.folder = trace.folder or find_run_folder(trace.run)
    _ask_tracking(trace)
    if trace.record is None and trace.folder:
        trace.record = _describe_folder(trace.folder, trace.run)
    if trace.record is None and trace.version is None:
        is_there = Path(model).exists() or resolve_in_home(model).exists()
        raise RequestError(
            where=model,
            message="no model with a lineage" if is_there else "no such model",
            allowed=ALLOWED,
            hint="`hone run` makes one; a model from elsewhere has no lineage to tell",
        )
    trace.version = trace.version or _find_own_version(trace)
    return trace


def _start_trace(model: str) -> Trace:
    """Return the version or the run that the name says."""
    if uri := _name_version(model):
        version = read_registered(uri)
        run = version.lineage.run if version.lineage else version.tags.get(RUN_TAG, "")
        return Trace(run, version)
    folder = locate_folder(model)
    if folder is None:  # a run's name, or what its path was
        return Trace(model if model.count("/") == 1 else name_run(Path(model)))
    lineage = local.read_lineage(folder)
    if lineage is None:
        return Trace(name_run(folder), folder=folder)
    trace = Trace(lineage.run)
    trace.version = _read_folder(folder, lineage.name, trace.problems)
    return trace


def _name_version(model: str) -> str | None:
    """Return the URI of a published model; a bare name means its champion."""
    if model.startswith("models:/"):
        return model
    is_path = "/" in model or Path(model).exists() or find_run_folder(model) is not None
    return None if is_path or not has_champion(model) else f"models:/{model}@{CHAMPION}"


def locate_folder(model: str) -> Path | None:
    """Return the folder of a run or a version that a path leads to or into, if any."""
    named = Path(model).expanduser().absolute()
    folder = named if named.exists() else resolve_in_home(model)
    for place in (folder, *list(folder.parents)[:2]):
        is_run = (place / RUN_CONFIG).is_file() and (place / RUN_MANIFEST).is_file()
        if is_run or (place / local.LINEAGE).is_file():
            return place.resolve()
    return None


def name_run(folder: Path) -> str:
    """Return a run's name by its folder: below its family's, where it has one.

    >>> name_run(Path("outputs/runs/a")), name_run(Path("outputs/sweeps/b/trial-1"))
    ('a', 'b/trial-1')
    """
    family = folder.parent
    return f"{family.name}/{folder.name}" if family.parent.name in RUN_KINDS else folder.name


def find_run_folder(run: str) -> Path | None:
    """Return where the complete folder of a run lies on this machine, or None."""
    places = [find_home() / "outputs" / kind / run for kind in RUN_KINDS] if run else []
    return next((place for place in places if (place / RUN_MANIFEST).is_file()), None)


def _read_folder(folder: Path, name: str, problems: list[str]) -> VersionRecord:
    """Return a version as the registry has it, or, where that does not tell, as its files do."""
    publication = local.read_publication(folder)
    if publication is None:
        problems.append(f"{folder} was never published: it has no {local.PUBLICATION}")
        return read_records(folder, name, folder.name)
    try:
        return read_registered(publication.uri)
    except HoneError as err:
        problems.append(f"the registry does not tell about this version: {err}")
        return read_records(folder, name, publication.version)


def _ask_tracking(trace: Trace) -> None:
    """Add what MLflow's tracking has of the run; what is wrong is noted, not raised."""
    run_id = trace.version.run_id if trace.version else None
    try:
        found = read_run(run_id) if run_id else find_run(trace.run)
        if found is None:
            if trace.run:
                trace.problems.append(f"MLflow has no run of {trace.run}")
            return
        trace.run_id, trace.tags = found.info.run_id, dict(found.data.tags)
        trace.record = read_provenance(open_client(), found.info.run_id)
    except HoneError as err:
        trace.problems.append(str(err))


def _describe_folder(folder: Path, run: str) -> Provenance:
    """Return what a run's folder says, of runs that an older hone tracked."""
    handles = read_handles(read_json(folder / RUN_MANIFEST)["handles"])
    return describe_run(run, load_config(str(folder / RUN_CONFIG)), handles, code_revision="")


def _find_own_version(trace: Trace) -> VersionRecord | None:
    """Return the version that a run published, or that its candidate was already."""
    row = trace.record.handles.get("publish") if trace.record else None
    if not row:
        return None
    publication = Publication.model_validate(row)
    try:
        return read_registered(publication.uri)
    except HoneError as err:
        trace.problems.append(f"the registry does not tell about {publication.uri}: {err}")
    if not publication.folder.is_dir():
        return None
    return read_records(publication.folder, publication.name, publication.version)
