"""Live metrics and texts into a run of MLflow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tasks.tracking.points import MetricPoint
from tasks.tracking.runs import TrackedRun, log_points
from tasks.tracking.store import explain_failures, find_tracking_uri

REFUSED_IN_KEYS = re.compile(r"[^\w/.\- :]")  # one bad key would make MLflow refuse a whole batch


@dataclass(frozen=True)
class MLflowSink:
    """Takes metrics as metrics and texts as artifacts below `samples/`."""

    run: TrackedRun

    def send_points(self, points: Sequence[MetricPoint]) -> None:
        """Send metrics in as few requests as MLflow allows.

        Raises:
            RunError: MLflow does not take them.
        """
        named = [replace(point, key=REFUSED_IN_KEYS.sub("_", point.key)) for point in points]
        with explain_failures("MLflow's tracking", find_tracking_uri()):
            log_points(self.run, named)

    def send_texts(self, texts: Mapping[str, str]) -> None:
        """Send texts; one that is there already is replaced."""
        for name, text in texts.items():
            file = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
            self.run.client.log_text(self.run.run_id, text, f"samples/{file}.md")

    def close(self) -> None:
        """Do nothing: the run is finished by who opened it."""
