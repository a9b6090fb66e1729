"""What a run was made from and what its stages returned, kept as artifacts of its MLflow run."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from configs.errors import RunError
from tasks.records.environment import Environment
from tasks.records.handles import Record
from tasks.records.writing import read_json, write_json
from tasks.tracking.runs import TrackedRun, log_artifacts
from tasks.tracking.store import explain_failures, find_tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

SCHEMA_VERSION = 1
FOLDER = "provenance"
RECORD = "provenance.json"
ASSIGNMENTS = "assignments.parquet"


class Provenance(Record):
    """All that explains a run, without its folder: small, and complete in itself."""

    schema_version: int = SCHEMA_VERSION
    run: str
    """The run folder's name."""
    config: dict[str, Any]
    """The resolved configuration."""
    handles: dict[str, dict[str, Any]]
    """What each stage returned, by its name."""
    model_files: dict[str, str] = Field(default={})
    """SHA-256 of each file of the trained model."""
    data_files: dict[str, str] = Field(default={})
    """SHA-256 of the files that were read; the first thousand."""
    training: dict[str, Any] = Field(default={})
    """What determined the training: the key of its cache entry."""
    memory_setting: dict[str, Any] = Field(default={})
    """What was chosen for the memory that was free: rows, activation checkpointing."""
    environment: Environment | None = None
    """Where the training ran."""
    code_revision: str
    """Empty where it is not known."""


def log_provenance(run: TrackedRun, record: Provenance, assignments: Path | None = None) -> None:
    """Keep a run's provenance among its artifacts; a later one takes the place of an earlier.

    Args:
        run: The run.
        record: What is known about it.
        assignments: The file with the splits that its rows were given to; without it, a run on
            data that has grown cannot be done again.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / FOLDER
        write_json(folder / RECORD, record.model_dump(mode="json"))
        log_artifacts(run, [folder / RECORD], folder=FOLDER)
    if assignments and assignments.is_file():
        log_artifacts(run, [assignments], folder=FOLDER)


def read_provenance(client: MlflowClient, run_id: str) -> Provenance | None:
    """Return a run's provenance, or None where an older hone recorded none.

    Raises:
        RunError: A newer hone wrote it, or MLflow does not answer.
    """
    with tempfile.TemporaryDirectory() as temporary:
        file = fetch_record(client, run_id, RECORD, Path(temporary))
        if file is None:
            return None
        found = read_json(file)
    if found.get("schema_version", 0) > SCHEMA_VERSION:
        raise RunError(
            where=f"{FOLDER}/{RECORD} of the MLflow run {run_id}",
            message=f"schema_version {found['schema_version']} was written by a newer hone",
            allowed=f"up to {SCHEMA_VERSION}",
            hint="update this clone",
        )
    try:
        return Provenance.model_validate(found)
    except ValidationError as err:
        raise RunError(
            where=f"{FOLDER}/{RECORD} of the MLflow run {run_id}",
            message=f"it is not readable: {err.error_count()} fields are not as expected",
        ) from err


def fetch_record(client: MlflowClient, run_id: str, name: str, target: Path) -> Path | None:
    """Bring a file of a run's provenance into a folder; None where the run has none."""
    with explain_failures("MLflow's artifacts", find_tracking_uri()):
        listed = {Path(file.path).name for file in client.list_artifacts(run_id, FOLDER)}
        if name not in listed:
            return None
        return Path(client.download_artifacts(run_id, f"{FOLDER}/{name}", str(target)))
