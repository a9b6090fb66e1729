"""Tell what a model was made from: version, decision, evaluation, run, data, code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from configs.errors import HoneError, RequestError
from configs.load import load_config
from tasks.publishing import local
from tasks.publishing.candidates import Lineage
from tasks.publishing.model_versions import CHAMPION
from tasks.publishing.registry import find_version_folder
from tasks.records.handles import (
    DataVersion,
    Decision,
    FormattedData,
    Handle,
    PreparedData,
    Publication,
    Record,
    TrainedModel,
)
from tasks.records.home import find_home, resolve_in_home
from tasks.records.writing import read_json
from tasks.tracking.runs import find_run
from tasks.versioning.origins import DataOrigin, trace_data

ALLOWED = "a published model, models:/NAME@ALIAS, models:/NAME/VERSION, or a run folder"
RUN_CONFIG, RUN_MANIFEST = "config.yaml", "manifest.json"
REVISION_TAG = "hone.code_revision"

HandleT = TypeVar("HandleT", bound=Handle)


class RunFacts(Record):
    """The run that trained a model."""

    name: str
    path: str | None
    """The run folder, relative to HONE_HOME where it lies in it; None where it is gone."""
    mlflow_run_id: str | None
    trained: TrainedModel | None


class CodeFacts(Record):
    """The code behind a run."""

    revision: str | None
    versions: dict[str, str]
    """Installed versions of the libraries under it."""


class Explanation(Record):
    """The chain from a model back to its data and code; None where a link is not known."""

    model: str
    version: Publication | None
    lineage: Lineage | None
    decision: Decision | None
    evaluation: dict[str, dict[str, dict[str, float]]]
    """Metrics by arm, split and name."""
    run: RunFacts
    formatted: FormattedData | None
    prepared: PreparedData | None
    data: DataOrigin | None
    code: CodeFacts
    problems: tuple[str, ...]
    """What could not be found out, and why."""


def explain(model: str) -> Explanation:
    """Return the lineage chain of a model, from its folders, MLflow and lakeFS.

    Args:
        model: The name of a published model, `models:/NAME@ALIAS`, a version's folder, or a run
            folder or what lies in it.

    Raises:
        RequestError: There is no such model, or it is not one that hone made.
    """
    folder = locate_model(model)
    lineage = local.read_lineage(folder)
    run = find_home() / "outputs" / "runs" / lineage.run if lineage else folder
    handles = _read_handles(run)
    version = local.read_publication(folder) if lineage else handles.find("publish", Publication)
    if version and lineage is None:
        lineage = local.read_lineage(version.folder)
    published = version.folder if version else folder
    problems: list[str] = []
    run_id, tags = _ask_mlflow(published if lineage else run, run.name, problems)
    data = _trace_data(lineage, handles.find("version", DataVersion))
    return Explanation(
        model=model,
        version=version,
        lineage=lineage,
        decision=local.read_decision(published) if lineage else handles.find("decide", Decision),
        evaluation=_read_metrics(published if lineage else run),
        run=RunFacts(
            name=run.name,
            path=_name_place(run) if run.is_dir() else None,
            mlflow_run_id=run_id,
            trained=handles.find("train", TrainedModel),
        ),
        formatted=handles.find("format", FormattedData),
        prepared=handles.find("prepare", PreparedData),
        data=data,
        code=CodeFacts(
            revision=lineage.code_revision if lineage else tags.get(REVISION_TAG),
            versions=lineage.versions if lineage else {},
        ),
        problems=(*problems, *([data.problem] if data and data.problem else [])),
    )


def locate_model(model: str) -> Path:
    """Return the folder of a published version or of a run.

    Raises:
        RequestError: There is none.
    """
    if model.startswith("models:/"):
        return find_version_folder(model)
    if (local.find_models_root() / model).is_dir() and "/" not in model:
        return find_version_folder(f"models:/{model}@{CHAMPION}")
    named = Path(model).expanduser().absolute()
    folder = named if named.exists() else resolve_in_home(model)
    for place in (folder, *list(folder.parents)[:2]):
        is_run = (place / RUN_CONFIG).is_file() and (place / RUN_MANIFEST).is_file()
        if is_run or (place / local.LINEAGE).is_file():
            return place.resolve()
    raise RequestError(
        where=model,
        message="no model with a lineage" if folder.exists() else "no such model",
        allowed=ALLOWED,
        hint="`hone run` makes one; a model from elsewhere has no lineage to tell",
    )


def _name_place(folder: Path) -> str:
    home = find_home()
    return (folder.relative_to(home) if folder.is_relative_to(home) else folder).as_posix()


class Handles:
    """The handles of a run, as its manifest has them."""

    def __init__(self, rows: dict[str, Any]) -> None:
        self._rows = rows

    def find(self, stage: str, kind: type[HandleT]) -> HandleT | None:
        """Return what a stage returned; None where it did not run."""
        row = self._rows.get(stage)
        return kind.model_validate(row) if row else None


def _read_handles(run: Path) -> Handles:
    manifest = run / RUN_MANIFEST
    return Handles(read_json(manifest)["handles"] if manifest.is_file() else {})


def _read_metrics(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    file = folder / "metrics.json"
    return dict(read_json(file)) if file.is_file() else {}


def _ask_mlflow(folder: Path, run: str, problems: list[str]) -> tuple[str | None, dict[str, str]]:
    """Return the id and the tags of a run in MLflow; what is wrong is noted, not raised."""
    try:
        found = find_run(load_config(str(folder / RUN_CONFIG)).tracking.project, run)
    except HoneError as err:
        problems.append(str(err))
        return None, {}
    return (found.info.run_id, dict(found.data.tags)) if found else (None, {})


def _trace_data(lineage: Lineage | None, data: DataVersion | None) -> DataOrigin | None:
    if data:
        return trace_data(data.source, data.commit, data.digest)
    return trace_data(lineage.data_source, lineage.data_commit) if lineage else None
