"""Open a run's record in MLflow, with what it was asked to do and what it reads."""

from __future__ import annotations

from configs.schema import RunConfig
from tasks.records.handles import DataVersion
from tasks.records.runs import RunFolder
from tasks.tracking.revision import find_code_revision
from tasks.tracking.runs import TrackedRun, log_params, open_run, tag_lineage

UNSENT = "unsent.jsonl"  # metrics that a training could not send, in its entry


def track(config: RunConfig, run: RunFolder, data: DataVersion) -> TrackedRun:
    """Return the MLflow run of a run folder; parameters and lineage stand in it from the start."""
    tracked = open_run(config.tracking.project, run.name, config.tracking.run_name)
    log_params(tracked, config.model_dump(mode="json"))
    tag_lineage(tracked, data_commit=data.commit, code_revision=find_code_revision())
    return tracked
