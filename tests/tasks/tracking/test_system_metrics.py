from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import RunError
from tasks.tracking.runs import TrackedRun, open_run
from tasks.tracking.system_metrics import record_system


def test_what_the_machine_does_stands_in_the_run(home: Path) -> None:
    run = open_run("hone", "20260101T000000Z-abcdef")
    for _ in range(2):  # resumed, it goes on
        with record_system(lambda: run):
            pass
    metrics = run.client.get_run(run.run_id).data.metrics
    assert "system/cpu_utilization_percentage" in metrics
    history = run.client.get_metric_history(run.run_id, "system/cpu_utilization_percentage")
    assert [metric.step for metric in history] == [0, 1]


def test_a_tracker_that_is_away_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def be_away() -> TrackedRun:
        raise RunError(message="MLflow does not answer")

    with record_system(be_away):
        done = True
    assert done
    assert "system metrics are not recorded: MLflow does not answer" in caplog.text
    with record_system(None):
        pass
