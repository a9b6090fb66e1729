"""Event files as TensorBoard reads them, also after a disk that was full or a folder that went."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tasks.tracking.observer import LiveMetrics
from tasks.tracking.points import MetricPoint
from tasks.tracking.tensorboard_sink import TensorBoardSink


def read_scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def make_points(steps: range, value: float = 1.0, key: str = "loss") -> list[MetricPoint]:
    return [MetricPoint(key, value, step, 1_700_000_000_000 + step) for step in steps]


def test_tensorboard_reads_what_was_sent(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path / "logs")
    sink.send_points([*make_points(range(1, 3)), *make_points(range(2, 3), 0.5, "eval_loss")])
    sink.send_points(make_points(range(3, 4), 0.25))
    sink.send_texts({"samples-3": "a text"})
    sink.close()
    assert read_scalars(tmp_path / "logs", "train/loss") == [(1, 1.0), (2, 1.0), (3, 0.25)]
    assert read_scalars(tmp_path / "logs", "eval/loss") == [(2, 0.5)]
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_a_resumed_training_replaces_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    TensorBoardSink(tmp_path).send_points(make_points(range(1, 6), 1.0))
    resumed = TensorBoardSink(tmp_path)
    resumed.send_points(make_points(range(4, 8), 2.0))
    expected = [(1, 1.0), (2, 1.0), (3, 1.0), *((step, 2.0) for step in range(4, 8))]
    assert read_scalars(tmp_path, "train/loss") == expected
    resumed.send_points(make_points(range(6, 8), 3.0))  # back again, in the same process
    assert read_scalars(tmp_path, "train/loss")[-3:] == [(5, 2.0), (6, 3.0), (7, 3.0)]


def test_a_removed_folder_is_made_again(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path / "logs")
    sink.send_points(make_points(range(1, 3)))
    shutil.rmtree(tmp_path / "logs")
    sink.send_points(make_points(range(3, 5)))
    assert read_scalars(tmp_path / "logs", "train/loss") == [(3, 1.0), (4, 1.0)]


def test_a_disk_that_is_full_leaves_no_torn_record(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    sink = TensorBoardSink(tmp_path)
    sink.send_points(make_points(range(1, 3)))
    size = sink.path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, limits[1]))  # in the middle of a record
    try:
        with pytest.raises(OSError, match="space"):
            sink.send_points(make_points(range(3, 5)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert sink.path.stat().st_size == size
    sink.send_points(make_points(range(3, 5)))
    assert [step for step, _ in read_scalars(tmp_path, "train/loss")] == [1, 2, 3, 4]


def test_metrics_are_kept_while_the_folder_is_away(tmp_path: Path) -> None:
    logs, spool = tmp_path / "logs", tmp_path / "unsent.jsonl"
    logs.write_text("a file where the folder should be")
    is_tried = threading.Event()

    def connect() -> TensorBoardSink:
        is_tried.set()
        return TensorBoardSink(logs)

    with LiveMetrics("TensorBoard", connect, spool, interval_seconds=0.02) as observer:
        observer.report_metrics({"loss": 2.0}, step=1)
        assert is_tried.wait(10)
        time.sleep(0.05)
        logs.unlink()
        observer.report_metrics({"loss": 1.0}, step=2)
    assert read_scalars(logs, "train/loss") == [(1, 2.0), (2, 1.0)]
    assert not spool.exists()
