from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from configs.errors import RunError
from tasks.records.observer import Observer
from tasks.records.writing import read_jsonl
from tasks.tracking.mlflow_sink import MLflowSink
from tasks.tracking.observer import LiveMetrics, send_unsent
from tasks.tracking.runs import TrackedRun, open_run


@pytest.fixture
def run(home: Path) -> TrackedRun:
    return open_run("hone", "20260101T000000-abcd")


def read_history(run: TrackedRun, key: str) -> list[tuple[int, float]]:
    history = run.client.get_metric_history(run.run_id, key)
    return sorted((point.step, point.value) for point in history)


def wait_for(is_true: object, seconds: float = 10.0) -> None:
    assert callable(is_true)
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_metrics_arrive_while_training_goes_on(run: TrackedRun, home: Path) -> None:
    with LiveMetrics(
        "MLflow", lambda: MLflowSink(run), home / "unsent.jsonl", interval_seconds=0.05
    ) as observer:
        observer.report_metrics({"loss": 2.0, "eval@loss": 1.5}, step=1)
        wait_for(lambda: read_history(run, "loss") == [(1, 2.0)])
        observer.report_metrics({"loss": 1.0}, step=2)
        observer.report_text("step 2: sample", "Q: ... A: ...")
    assert read_history(run, "loss") == [(1, 2.0), (2, 1.0)]
    assert read_history(run, "eval_loss") == [(1, 1.5)]
    [text] = (home / "mlartifacts").rglob("step_2_sample.md")
    assert text.read_text() == "Q: ... A: ..."
    assert not (home / "unsent.jsonl").exists()


def test_many_metrics_are_sent_in_batches(run: TrackedRun, home: Path) -> None:
    with LiveMetrics("MLflow", lambda: MLflowSink(run), home / "unsent.jsonl") as observer:
        for step in range(2500):
            observer.report_metrics({"loss": 1 / (step + 1)}, step)
    assert [step for step, _ in read_history(run, "loss")] == list(range(2500))


def test_reporting_takes_no_time(home: Path) -> None:
    is_released = threading.Event()

    def hang() -> MLflowSink:
        is_released.wait(20)
        raise ConnectionError("away")

    observer = LiveMetrics("MLflow", hang, home / "unsent.jsonl", interval_seconds=0.01)
    begin = time.perf_counter()
    for step in range(1000):
        observer.report_metrics({"loss": 1.0}, step)
    seconds = time.perf_counter() - begin
    is_released.set()
    observer.close()
    assert seconds < 0.5


def test_a_server_that_comes_back_gets_everything(
    run: TrackedRun, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    is_up = threading.Event()

    def connect() -> MLflowSink:
        if not is_up.is_set():
            raise ConnectionError("http://me:pa55@mlflow refused")
        return MLflowSink(run)

    with (
        caplog.at_level(logging.WARNING, "hone"),
        LiveMetrics("MLflow", connect, home / "unsent.jsonl", interval_seconds=0.02) as observer,
    ):
        observer.report_metrics({"loss": 2.0}, step=1)
        wait_for(lambda: "are kept" in caplog.text)
        observer.report_metrics({"loss": 1.0}, step=2)
        is_up.set()
        wait_for(lambda: len(read_history(run, "loss")) == 2)
    assert "pa55" not in caplog.text
    assert caplog.text.count("are kept") == 1


def test_what_was_never_sent_is_sent_by_the_resumed_run(run: TrackedRun, home: Path) -> None:
    def refuse() -> MLflowSink:
        raise ConnectionError("away")

    spool = home / "logs" / "unsent.jsonl"
    with LiveMetrics("MLflow", refuse, spool, interval_seconds=0.01) as observer:
        observer.report_metrics({"loss": 2.0}, step=1)
    assert [row["step"] for row in read_jsonl(spool)] == [1]
    with LiveMetrics("MLflow", lambda: MLflowSink(run), spool) as resumed:
        resumed.report_metrics({"loss": 1.0}, step=2)
    assert read_history(run, "loss") == [(1, 2.0), (2, 1.0)]
    assert not spool.exists()


def test_what_was_never_sent_can_be_sent_without_training(run: TrackedRun, home: Path) -> None:
    def refuse() -> MLflowSink:
        raise ConnectionError("away")

    spool = home / "unsent.jsonl"
    assert send_unsent(MLflowSink(run), spool) == 0
    with LiveMetrics("MLflow", refuse, spool, interval_seconds=0.01) as observer:
        observer.report_metrics({"loss": 2.0}, step=1)
    missing = replace(run, run_id="0" * 32)
    with pytest.raises(RunError, match="not found"):
        send_unsent(MLflowSink(missing), spool)
    assert spool.is_file()
    assert send_unsent(MLflowSink(run), spool) == 1
    assert read_history(run, "loss") == [(1, 2.0)]
    assert not spool.exists()


def test_it_is_an_observer(home: Path, run: TrackedRun) -> None:
    with LiveMetrics("MLflow", lambda: MLflowSink(run), home / "unsent.jsonl") as live:
        observer: Observer = live
        observer.report_progress(1, 2, "steps")
    assert run.client.get_run(run.run_id).data.metrics == {}


def test_a_spool_that_cannot_be_written_ends_no_training(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> MLflowSink:
        raise ConnectionError("away")

    (home / "logs").write_text("a file where the spool's folder should be")
    with (
        caplog.at_level(logging.WARNING, "hone"),
        LiveMetrics("MLflow", refuse, home / "logs" / "unsent.jsonl", 0.01) as observer,
    ):
        observer.report_metrics({"loss": 2.0}, step=1)
    assert "1 metrics for MLflow are lost" in caplog.text
