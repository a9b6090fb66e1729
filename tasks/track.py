"""Open a run's record in MLflow, and the trackers that see its training live."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.schema import RunConfig
from tasks.records.handles import DataVersion, FormattedData
from tasks.records.runs import RunFolder
from tasks.tracking.access import check_access
from tasks.tracking.mlflow_sink import MLflowSink
from tasks.tracking.observer import LiveMetrics, Sink, send_unsent
from tasks.tracking.revision import find_code_revision
from tasks.tracking.runs import TrackedRun, log_dataset, log_params, open_run, tag_lineage
from tasks.tracking.tensorboard_sink import TensorBoardSink
from tasks.tracking.wandb_sink import WandbRun, WandbSink, check_login
from tasks.versioning.lakefs_client import SCHEME, pin_uri

UNSENT = "unsent.jsonl"  # metrics that a training could not send to MLflow, in its entry
LOGS = "logs"  # TensorBoard's and W&B's files, in its entry


@dataclass(frozen=True)
class Tracker:
    """Somewhere that a training's metrics go, and the file for those that it did not take."""

    name: str
    connect: Callable[[], Sink]
    spool: Path


def track(config: RunConfig, run: RunFolder, data: DataVersion) -> TrackedRun:
    """Return the MLflow run of a run folder; parameters and lineage stand in it from the start."""
    names = config.tracking
    tracked = open_run(names.project, run.name, names.run_name, parent=run.family)
    log_params(tracked, config.model_dump(mode="json"))
    tag_lineage(tracked, data_commit=data.commit, code_revision=find_code_revision())
    return tracked


def check_trackers(config: RunConfig) -> None:
    """Refuse a tracker that would take nothing, before anything is done.

    Raises:
        RequestError: MLflow's server or W&B has no key of ours, or refuses it.
    """
    check_access()
    if "wandb" in config.tracking.report_to:
        check_login()


@contextmanager
def track_live(
    config: RunConfig, run: RunFolder, data: DataVersion, entry: Path
) -> Iterator[list[LiveMetrics]]:
    """Open the observers that `tracking.report_to` asks for, and close them at the end.

    Args:
        config: Says which.
        run: The run's folder.
        data: What the run reads.
        entry: The training's folder; its name is the digest of what determines the training.

    Raises:
        RequestError: W&B has no key, or refuses it.
    """
    check_trackers(config)
    with ExitStack() as stack:
        yield [
            stack.enter_context(LiveMetrics(tracker.name, tracker.connect, tracker.spool))
            for tracker in list_trackers(config, run, data, entry)
        ]


def list_trackers(
    config: RunConfig, run: RunFolder, data: DataVersion, entry: Path
) -> list[Tracker]:
    """Return the trackers that `tracking.report_to` names; nothing is opened."""
    logs = entry / LOGS
    wandb_run = WandbRun(
        project=config.tracking.project,
        name=config.tracking.run_name or run.name,
        run_id=entry.name,  # a resumed training goes on in the same run
        folder=logs,
        config=config.model_dump(mode="json"),
    )
    known = {
        "mlflow": Tracker("MLflow", lambda: MLflowSink(track(config, run, data)), entry / UNSENT),
        "tensorboard": Tracker(
            "TensorBoard", lambda: TensorBoardSink(logs), logs / "unsent-tensorboard.jsonl"
        ),
        "wandb": Tracker("W&B", lambda: WandbSink(wandb_run), logs / "unsent-wandb.jsonl"),
    }
    return [known[name] for name in sorted(set(config.tracking.report_to))]


def send_what_is_left(
    tracked: TrackedRun, config: RunConfig, run: RunFolder, data: DataVersion, entry: Path
) -> None:
    """Send what an ended training's trackers did not take.

    Raises:
        RunError: MLflow does not take it now either; others may, and keep it.
    """
    send_unsent(MLflowSink(tracked), entry / UNSENT)
    for tracker in list_trackers(config, run, data, entry):
        if tracker.spool.is_file():
            LiveMetrics(tracker.name, tracker.connect, tracker.spool).close()


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
