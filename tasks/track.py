"""Open a run's record in MLflow, with what it was asked to do and what it reads."""

from __future__ import annotations

from configs.schema import RunConfig
from tasks.records.handles import DataVersion, FormattedData
from tasks.records.runs import RunFolder
from tasks.tracking.revision import find_code_revision
from tasks.tracking.runs import TrackedRun, log_dataset, log_params, open_run, tag_lineage
from tasks.versioning.lakefs_client import SCHEME, pin_uri

UNSENT = "unsent.jsonl"  # metrics that a training could not send, in its entry


def track(config: RunConfig, run: RunFolder, data: DataVersion) -> TrackedRun:
    """Return the MLflow run of a run folder; parameters and lineage stand in it from the start."""
    tracked = open_run(config.tracking.project, run.name, config.tracking.run_name)
    log_params(tracked, config.model_dump(mode="json"))
    tag_lineage(tracked, data_commit=data.commit, code_revision=find_code_revision())
    return tracked


def log_inputs(tracked: TrackedRun, data: DataVersion, formatted: FormattedData) -> None:
    """Log each split as a dataset input of an MLflow run.

    Data in lakeFS is named by the commit, which says everything; other data by each split's digest.
    """
    in_lakefs = data.source.startswith(SCHEME)
    for name, split in formatted.splits.items():
        log_dataset(
            tracked,
            name=name,
            source=pin_uri(data.source, data.commit) if in_lakefs else data.source,
            digest=data.commit if in_lakefs else split.digest,
            context="training" if name == "train" else name,
        )
