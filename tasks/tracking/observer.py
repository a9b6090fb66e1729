"""Training metrics, live in a tracker, without making the training wait or fail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Protocol

from tasks.records.writing import read_jsonl, write_jsonl
from tasks.tracking.points import MetricPoint
from tasks.tracking.store import hide_password

LOG = logging.getLogger("hone")
MAX_WAIT_SECONDS = 60.0


class Sink(Protocol):
    """Where a tracker takes metrics and texts: MLflow's, TensorBoard's and W&B's are beside this.

    Each method may block and raise; what was not taken is handed over again, to a new sink.
    """

    def send_points(self, points: Sequence[MetricPoint]) -> None:
        """Send metrics, steps ascending, except where a training went back to a checkpoint."""

    def send_texts(self, texts: Mapping[str, str]) -> None:
        """Send texts by their names."""

    def close(self) -> None:
        """End the connection; nothing more will be sent."""


class LiveMetrics:
    """An observer that sends metrics and texts to a tracker from a thread of its own.

    Reporting only appends to a list. While the tracker is away the metrics are kept and sent
    later; what could not be sent at the end lies in `spool`, and the next `LiveMetrics` with the
    same spool (the resumed run's) sends it first.

    Args:
        tracker: Its name, for the log.
        connect: Opens the sink; called in the thread, again after each failure.
        spool: The file for metrics that could not be sent.
        interval_seconds: Longest time between a report and its sending.

    Example:
        >>> with LiveMetrics("MLflow", connect, spool) as observer:  # doctest: +SKIP
        ...     train_model(observer=observer)
    """

    def __init__(
        self,
        tracker: str,
        connect: Callable[[], Sink],
        spool: Path,
        interval_seconds: float = 2.0,
    ) -> None:
        self._tracker = tracker
        self._connect = connect
        self._spool = spool
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        self._points: list[MetricPoint] = read_spool(spool)
        self._texts: dict[str, str] = {}
        self._sink: Sink | None = None
        self._is_away = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._send_often, name=tracker, daemon=True)
        self._thread.start()

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Ignore the progress: trackers have no place for it."""

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Keep metrics of an optimiser step, to be sent soon."""
        now_ms = int(time.time() * 1000)
        points = [MetricPoint(key, float(value), step, now_ms) for key, value in metrics.items()]
        with self._lock:
            self._points.extend(points)

    def report_text(self, name: str, text: str) -> None:
        """Keep a text, to be sent soon; a later one of the same name replaces it."""
        with self._lock:
            self._texts[name] = text

    def close(self, timeout_seconds: float = 30.0) -> None:
        """Send what is left, or spool it when the tracker stays away."""
        self._closing.set()
        self._thread.join(timeout_seconds)
        with self._lock:
            points, self._points = self._points, []
        try:
            write_spool(self._spool, points)
        except OSError as err:  # a full disk; the training's own history has every metric
            LOG.warning("%d metrics for %s are lost: %s", len(points), self._tracker, err)
            return
        if points:
            LOG.warning(
                "%d metrics could not be sent to %s: %s", len(points), self._tracker, self._spool
            )

    def __enter__(self) -> LiveMetrics:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send_often(self) -> None:
        wait_seconds = self._interval_seconds
        while not self._closing.wait(wait_seconds):
            is_sent = self._try_sending()
            wait_seconds = (
                self._interval_seconds if is_sent else min(2 * wait_seconds, MAX_WAIT_SECONDS)
            )
        self._try_sending()
        self._disconnect()

    def _try_sending(self) -> bool:
        with self._lock:
            points, texts = list(self._points), dict(self._texts)
        if not points and not texts:
            return True
        try:
            self._send(points, texts)
        except Exception as err:  # noqa: BLE001 - whatever the tracker does, training goes on
            if not self._is_away:
                reason = hide_password(str(err))
                LOG.warning(
                    "%s does not take the metrics now, they are kept: %s", self._tracker, reason
                )
            self._is_away = True
            self._disconnect()
            return False
        self._is_away = False
        return True

    def _send(self, points: list[MetricPoint], texts: dict[str, str]) -> None:
        if self._sink is None:
            self._sink = self._connect()
        if points:
            self._sink.send_points(points)
        with self._lock:  # reports only append, so what was sent is still at the front
            del self._points[: len(points)]
        if texts:
            self._sink.send_texts(texts)
        with self._lock:
            for name, text in texts.items():
                if self._texts.get(name) == text:
                    del self._texts[name]

    def _disconnect(self) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        try:
            sink.close()
        except Exception as err:  # noqa: BLE001 - whatever the tracker does, training goes on
            LOG.warning("%s: %s", self._tracker, hide_password(str(err)))


def send_unsent(sink: Sink, spool: Path) -> int:
    """Send what an ended training could not send, and remove the spool; nothing without one.

    Args:
        sink: What gets it.
        spool: The file that `LiveMetrics` left.

    Returns:
        The number of metrics sent. Whatever the sink raises leaves the spool as it is.
    """
    points = read_spool(spool)
    if points:
        sink.send_points(points)
    spool.unlink(missing_ok=True)
    return len(points)


def read_spool(spool: Path) -> list[MetricPoint]:
    """Return the metrics that an earlier attempt could not send."""
    if not spool.is_file():
        return []
    return [MetricPoint(**row) for row in read_jsonl(spool)]


def write_spool(spool: Path, points: Sequence[MetricPoint]) -> None:
    """Keep metrics for the next attempt; without any, no file is left."""
    if points:
        write_jsonl(spool, [asdict(point) for point in points])
    else:
        spool.unlink(missing_ok=True)
