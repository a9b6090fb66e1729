"""Live metrics into TensorBoard's event files."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.tracking.points import MetricPoint, name_scalar

FILE_VERSION = "brain.Event:2"  # of files in which only a session's start takes steps back


class TensorBoardSink:
    """Takes metrics into one event file in a folder.

    torch's writer has a thread that ends for good at the first full disk, and goes on writing into
    a file that was removed; here each batch is appended to the file by its name, wholly or not at
    all. Where steps go back (a training resumed from its checkpoint) what stood in the folder from
    that step on goes.

    Args:
        folder: TensorBoard's `--logdir`; made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        # TensorBoard reads a folder's files in the order of their names: by time.
        self.path = folder / f"events.out.tfevents.{time.time():.6f}.hone"
        self._last_step: int | None = None

    def send_points(self, points: Sequence[MetricPoint]) -> None:
        """Append metrics.

        Raises:
            OSError: The disk is full, or the folder cannot be written; the file is as before.
        """
        events, last_step = [], self._last_step
        for point in points:
            if last_step is None or point.step < last_step:
                events.append(_start_session(point))
            events.append(_make_scalar(point))
            last_step = point.step
        self._append(events)
        self._last_step = last_step

    def send_texts(self, texts: Mapping[str, str]) -> None:
        """Leave texts out: `samples.md` beside the folder has them."""

    def close(self) -> None:
        """Do nothing: the file is open only while it is written."""

    def _append(self, events: Sequence[Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            header = [] if size else [_start_file(events[0].wall_time)]
            data = _encode([*header, *events])
            try:
                if file.write(data) != len(data):  # the disk became full in the middle
                    raise OSError("no space left on the disk")
            except OSError:
                file.truncate(size)  # a torn record would hide all that follow
                raise


def _encode(events: Sequence[Any]) -> bytes:
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event.SerializeToString())
    return buffer.getvalue()


def _start_file(wall_time: float) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=wall_time, file_version=FILE_VERSION)


def _start_session(point: MetricPoint) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    session = SessionLog(status=SessionLog.START)
    return Event(wall_time=point.timestamp_ms / 1000, step=point.step, session_log=session)


def _make_scalar(point: MetricPoint) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    value = Summary.Value(tag=name_scalar(point.key), simple_value=point.value)
    summary = Summary(value=[value])
    return Event(wall_time=point.timestamp_ms / 1000, step=point.step, summary=summary)
