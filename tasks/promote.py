"""Open an evaluated run again, to publish it by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import RequestError, RunError
from configs.load import load_config
from configs.schema import RunConfig
from tasks.records.handles import (
    DataVersion,
    Decision,
    Evaluation,
    FormattedData,
    Handle,
    Publication,
    TrainedModel,
)
from tasks.records.home import find_home
from tasks.records.results import ARMS, StageResults
from tasks.records.runs import RunFolder
from tasks.records.writing import read_json

CONFIG, MANIFEST = "config.yaml", "manifest.json"
KINDS: dict[str, type[Handle]] = {
    "version": DataVersion,
    "format": FormattedData,
    "train": TrainedModel,
    "merge": TrainedModel,
    **{f"evaluate-{arm}": Evaluation for arm in ARMS},
    "decide": Decision,
    "publish": Publication,
}


@dataclass(frozen=True)
class EvaluatedRun:
    """A run that ended with a decision, as its folder has it."""

    run: RunFolder
    config: RunConfig
    results: StageResults
    data: DataVersion
    formatted: FormattedData
    trained: TrainedModel
    decision: Decision


def open_evaluated(name: str) -> EvaluatedRun:
    """Return a run that ended with a decision.

    Args:
        name: The run folder: its path, or its name below `outputs/runs/`; `latest` too.

    Raises:
        RequestError: There is no such run, or it ended before its decision.
    """
    folder = find_run_folder(name)
    manifest = folder / MANIFEST
    results = read_results(read_json(manifest) if manifest.is_file() else {})
    if not (results.data and results.formatted and results.candidate and results.decision):
        ended = "it ended before its decision" if manifest.is_file() else "it did not end well"
        raise RequestError(
            where=str(folder), message=f"nothing to publish: {ended}", hint="`hone run` goes on"
        )
    return EvaluatedRun(
        run=RunFolder(path=folder.relative_to(find_home()).as_posix()),
        config=load_config(str(folder / CONFIG)),
        results=results,
        data=results.data,
        formatted=results.formatted,
        trained=results.candidate,
        decision=results.decision,
    )


def read_results(manifest: dict[str, Any]) -> StageResults:
    """Return what the stages of a run returned and how long they took, from its manifest."""
    results = StageResults()
    handles = manifest.get("handles", {})
    for stage, kind in KINDS.items():
        if stage in handles:
            handle = kind.model_validate(handles[stage])
            is_reused = stage in manifest["reused"]
            results.note(stage, handle.model_copy(update={"reused": is_reused}))
    results.seconds.update(manifest.get("seconds", {}))
    return results


def find_run_folder(name: str) -> Path:
    """Return a run's folder in this HONE_HOME, with all links resolved.

    Raises:
        RequestError: There is none.
    """
    runs = find_home() / "outputs" / "runs"
    places = (Path(name).expanduser().absolute(), find_home() / name, runs / name)
    for place in places:
        if (place / CONFIG).is_file() and place.resolve().is_relative_to(runs):
            return place.resolve()
    raise RequestError(
        where=name,
        message="no run folder of this HONE_HOME",
        allowed="a path such as outputs/runs/20260101T000000Z-abcdef, its name, or latest",
    )


def check_complete(evaluated: EvaluatedRun) -> None:
    """Refuse a run whose results were removed from the cache.

    Raises:
        RunError: Naming the first result that is gone.
    """
    for stage, handle in evaluated.results.handles.items():
        if not handle.folder.is_dir():
            raise RunError(
                where=evaluated.run.path,
                message=f"the result of {stage} is gone: {handle.folder}",
                hint="run it again: what is gone is computed anew",
            )
