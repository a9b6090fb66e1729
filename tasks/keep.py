"""Keep in MLflow what explains a run, so that its folder and caches are not needed for that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.schema import RunConfig
from tasks.records.entries import MANIFEST
from tasks.records.environment import read_environment
from tasks.records.handles import DataVersion, Handle, TrainedModel
from tasks.records.runs import RunFolder
from tasks.records.writing import read_json
from tasks.tracking.provenance import Provenance, log_provenance
from tasks.tracking.revision import find_code_revision
from tasks.tracking.runs import TrackedRun

MEMORY_SETTING = "memory_setting.json"
MODEL = "model/"  # in a training's entry
MAX_FILES = 1000


def keep_provenance(
    tracked: TrackedRun, run: RunFolder, config: RunConfig, handles: Mapping[str, Handle]
) -> None:
    """Record what a run was made from among the artifacts of its MLflow run.

    Args:
        tracked: The MLflow run.
        run: The run's folder.
        config: Its resolved configuration.
        handles: What its stages returned so far, by name.
    """
    from tasks.formatting.splits.stored_splits import ASSIGNMENTS

    formatted = handles.get("format")
    assignments = formatted.folder / ASSIGNMENTS if formatted else None
    log_provenance(
        tracked, describe_run(run.name, config, handles, find_code_revision()), assignments
    )


def describe_run(
    run: str, config: RunConfig, handles: Mapping[str, Handle], code_revision: str
) -> Provenance:
    """Return what is known about a run from what its stages returned.

    Args:
        run: Its name.
        config: Its resolved configuration.
        handles: What its stages returned, by name.
        code_revision: Of the code that ran; empty where it is not known.
    """
    data, trained = handles.get("version"), handles.get("train")
    entry = trained.folder if isinstance(trained, TrainedModel) else None
    manifest = _read(entry / MANIFEST) if entry else {}
    return Provenance(
        run=run,
        config=config.model_dump(mode="json"),
        handles={name: handle.model_dump(mode="json") for name, handle in handles.items()},
        model_files={
            name.removeprefix(MODEL): str(digest)
            for name, digest in manifest.get("files", {}).items()
            if name.startswith(MODEL)
        },
        data_files=list_data_files(data) if isinstance(data, DataVersion) else {},
        training=manifest.get("key", {}),
        memory_setting=_read(entry / MEMORY_SETTING) if entry else {},
        environment=read_environment(entry) if entry else None,
        code_revision=code_revision,
    )


def list_data_files(data: DataVersion) -> dict[str, str]:
    """Return the SHA-256 of the files that a run read, by place; of very many, the first."""
    files = _read(data.folder / MANIFEST).get("files", {})
    return {str(name): str(files[name]) for name in sorted(files)[:MAX_FILES]}


def _read(file: Path) -> dict[str, Any]:
    return dict(read_json(file)) if file.is_file() else {}
