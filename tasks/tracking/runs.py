"""One MLflow run for each run folder: opened or resumed, logged to, finished."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from configs.errors import RequestError
from tasks.tracking.points import MetricPoint
from tasks.tracking.store import (
    explain_failures,
    find_artifact_root,
    find_database_file,
    find_tracking_uri,
    has_server,
    open_client,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LOG = logging.getLogger("hone")
RUN_FOLDER_TAG = "hone.run_folder"
DATA_TAG = "hone.data_commit"
REVISION_TAG = "hone.code_revision"
PARENT_TAG = "mlflow.parentRunId"  # by which MLflow shows runs below others
MAX_PARAMS_PER_BATCH = 100  # limits of MLflow's log-batch endpoint
MAX_METRICS_PER_BATCH = 1000
MAX_PARAM_CHARACTERS = 6000
MAX_DIGEST_CHARACTERS = 36

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class TrackedRun:
    """A run in MLflow that can be logged to."""

    client: MlflowClient
    run_id: str
    experiment_id: str


def open_run(
    project: str, run_folder: str, run_name: str | None = None, *, parent: str | None = None
) -> TrackedRun:
    """Open the MLflow run of a run folder: the one that exists already, or a new one.

    Args:
        project: The MLflow experiment.
        run_folder: The run folder's name, by which the run is found again on resume.
        run_name: The name to show; by default the run folder's.
        parent: The name of the folder whose run this one is shown below, in the same experiment.

    Raises:
        RequestError: The experiment was deleted.
        RunError: MLflow does not answer.
    """
    client = open_client()
    with explain_failures("MLflow's tracking", find_tracking_uri()):
        experiment_id = _open_experiment(client, project)
        run = _find_run(client, experiment_id, run_folder)
        if run is None:
            tags = {RUN_FOLDER_TAG: run_folder, "mlflow.source.name": "hone"}
            above = _find_run(client, experiment_id, parent) if parent else None
            tags |= {PARENT_TAG: above.info.run_id} if above else {}
            run = client.create_run(experiment_id, tags=tags, run_name=run_name or run_folder)
        else:
            client.update_run(run.info.run_id, status="RUNNING")
    return TrackedRun(client, run.info.run_id, experiment_id)


def _open_experiment(client: MlflowClient, project: str) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(project)
    if experiment is None:
        try:
            return str(client.create_experiment(project, _find_artifact_location(project)))
        except MlflowException as err:
            if err.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                raise
            experiment = client.get_experiment_by_name(project)
    if experiment.lifecycle_stage != "active":
        raise RequestError(
            where="tracking.project",
            message=f"the MLflow experiment {project!r} is deleted",
            hint=f"restore it (mlflow experiments restore -x {experiment.experiment_id}) "
            "or choose another name",
        )
    return str(experiment.experiment_id)


def _find_artifact_location(project: str) -> str | None:
    """Return where an experiment's artifacts go; None where a server decides about it."""
    if has_server(find_tracking_uri()):
        return None
    return (find_artifact_root() / re.sub(r"[^A-Za-z0-9._-]|^\.+", "_", project)).as_uri()


def _find_run(client: MlflowClient, experiment_id: str, run_folder: str) -> Run | None:
    assert "'" not in run_folder, run_folder
    runs = client.search_runs(
        [experiment_id], f"tags.`{RUN_FOLDER_TAG}` = '{run_folder}'", max_results=1
    )
    return runs[0] if runs else None


def find_run(run_folder: str) -> Run | None:
    """Return the newest MLflow run of a run folder, in whatever experiment, or None.

    Args:
        run_folder: The run folder's name.

    Raises:
        RunError: MLflow does not answer.
    """
    file = find_database_file(find_tracking_uri())
    if (file and not file.exists()) or not run_folder or "'" in run_folder:
        return None
    client = open_client()
    with explain_failures("MLflow's tracking", find_tracking_uri()):
        experiments = [found.experiment_id for found in client.search_experiments()]
        runs = client.search_runs(
            experiments, f"tags.`{RUN_FOLDER_TAG}` = '{run_folder}'", max_results=1
        )
    return runs[0] if runs else None


def read_run(run_id: str) -> Run | None:
    """Return an MLflow run by its id, or None where there is none any more.

    Raises:
        RunError: MLflow does not answer.
    """
    from mlflow.exceptions import MlflowException

    client = open_client()
    with explain_failures("MLflow's tracking", find_tracking_uri()):
        try:
            return client.get_run(run_id)
        except MlflowException as err:
            if err.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return None


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested values under dotted keys, as text.

    >>> flatten_config({"training": {"seed": 42}, "purpose": "demo"})
    {'training.seed': '42', 'purpose': 'demo'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def log_params(run: TrackedRun, config: Mapping[str, Any]) -> None:
    """Log a configuration as parameters, those that are not there yet.

    MLflow refuses to change a parameter, so that a resumed run would fail on logging it again.

    Args:
        run: The run.
        config: Nested values; an overlong text is cut to what MLflow holds, with a warning.
    """
    from mlflow.entities import Param

    with _explain():
        known = run.client.get_run(run.run_id).data.params
    flat = {key: _fit_param(key, value) for key, value in flatten_config(config).items()}
    changed = sorted(key for key in flat if key in known and known[key] != flat[key])
    if changed:
        LOG.warning("MLflow keeps the first values of %s: the config was changed", changed)
    params = [Param(key, value) for key, value in flat.items() if key not in known]
    with _explain():
        for batch in _split_batches(params, MAX_PARAMS_PER_BATCH):
            run.client.log_batch(run.run_id, params=batch)


def _fit_param(key: str, value: str) -> str:
    if len(value) <= MAX_PARAM_CHARACTERS:
        return value
    LOG.warning("%s has %d characters; MLflow gets %d", key, len(value), MAX_PARAM_CHARACTERS)
    return value[:MAX_PARAM_CHARACTERS]


def set_tags(run: TrackedRun, tags: Mapping[str, str]) -> None:
    """Set tags, such as the data commit and the code revision."""
    from mlflow.entities import RunTag

    with _explain():
        run.client.log_batch(run.run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def tag_lineage(run: TrackedRun, *, data_commit: str, code_revision: str) -> None:
    """Tag a run with what it was made from; what it was tagged with first stands.

    A run that is published by hand, later, was not made by the code of then.
    """
    tags = {
        DATA_TAG: data_commit,
        REVISION_TAG: code_revision,
        "mlflow.source.git.commit": code_revision,
    }
    known = read_tags(run)
    if missing := {name: value for name, value in tags.items() if name not in known}:
        set_tags(run, missing)


def read_tags(run: TrackedRun) -> dict[str, str]:
    """Return a run's tags."""
    with _explain():
        return dict(run.client.get_run(run.run_id).data.tags)


def log_dataset(run: TrackedRun, *, name: str, source: str, digest: str, context: str) -> None:
    """Log what a run read as a dataset input.

    Args:
        run: The run.
        name: Name of the split, such as `train`.
        source: URI or path of the data.
        digest: Its content digest; MLflow's field holds the first 36 digits.
        context: What it was for: `training`, `validation`, `test`.
    """
    import json

    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=name,
        digest=digest[:MAX_DIGEST_CHARACTERS],
        source_type="hone",
        source=json.dumps({"uri": source, "digest": digest}),
    )
    tag = InputTag("mlflow.data.context", context)
    with _explain():
        run.client.log_inputs(run.run_id, [DatasetInput(dataset, [tag])])


def log_metrics(run: TrackedRun, metrics: Mapping[str, float], step: int = 0) -> None:
    """Log figures that are known at once, such as an evaluation's."""
    now_ms = int(time.time() * 1000)
    log_points(run, [MetricPoint(key, value, step, now_ms) for key, value in metrics.items()])


def log_points(run: TrackedRun, points: Sequence[MetricPoint]) -> None:
    """Log metrics of several steps, in as few requests as MLflow allows."""
    from mlflow.entities import Metric

    metrics = [Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points]
    for batch in _split_batches(metrics, MAX_METRICS_PER_BATCH):
        run.client.log_batch(run.run_id, metrics=batch)


def log_artifacts(run: TrackedRun, paths: Sequence[Path], folder: str | None = None) -> None:
    """Upload files and folders.

    Args:
        run: The run.
        paths: Files, or folders whose content is uploaded under their own name.
        folder: Where to, among the run's artifacts; by default at their top.
    """
    with _explain():
        for path in paths:
            if path.is_dir():
                target = path.name if folder is None else f"{folder}/{path.name}"
                run.client.log_artifacts(run.run_id, str(path), target)
            else:
                run.client.log_artifact(run.run_id, str(path), folder)


def finish_run(
    run: TrackedRun, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED"
) -> None:
    """Say how the run ended."""
    with _explain():
        run.client.set_terminated(run.run_id, status)


def _explain() -> AbstractContextManager[None]:
    return explain_failures("MLflow", find_tracking_uri())


def _split_batches(items: Sequence[ItemT], size: int) -> Iterator[list[ItemT]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
