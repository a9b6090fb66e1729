"""What a training does to its machine, in MLflow: processor, memory, disk, network, GPUs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from configs.errors import HoneError
from tasks.tracking.runs import TrackedRun
from tasks.tracking.store import find_tracking_uri

LOG = logging.getLogger("hone")


@contextmanager
def record_system(open_record: Callable[[], TrackedRun] | None) -> Iterator[None]:
    """Let MLflow's own monitor log `system/...` metrics while a block runs.

    Args:
        open_record: Opens the run that gets them; None records nothing. An MLflow that is away is
            no reason not to train.
    """
    monitor = _start(open_record) if open_record else None
    try:
        yield
    finally:
        if monitor:
            _finish(monitor)


def _start(open_record: Callable[[], TrackedRun]) -> Any:
    try:
        run = open_record()
    except HoneError as err:
        LOG.warning("system metrics are not recorded: %s", err.message)
        return None
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(
        run.run_id, resume_logging=True, tracking_uri=find_tracking_uri()
    )
    monitor.start()
    return monitor


def _finish(monitor: Any) -> None:
    """Stop the monitor, and log what it has seen since it logged last."""
    monitor.finish()
    with suppress(Exception):  # the same server that the monitor itself does without
        monitor.collect_metrics()
        monitor.publish_metrics(monitor.aggregate_metrics())
        monitor.mlflow_logger.flush()
