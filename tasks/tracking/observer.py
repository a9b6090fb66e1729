"""Training metrics, live in MLflow, without making the training wait or fail."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from tasks.records.writing import read_jsonl, write_jsonl
from tasks.tracking.runs import MetricPoint, TrackedRun, log_points
from tasks.tracking.store import explain_failures, find_tracking_uri, hide_password

LOG = logging.getLogger("hone")
MAX_WAIT_SECONDS = 60.0
REFUSED_IN_KEYS = re.compile(r"[^\w/.\- :]")  # one bad key would make MLflow refuse a whole batch


class LiveMetrics:
    """An observer that sends metrics and texts to MLflow from a thread of its own.

    Reporting only appends to a list. While the server is away the metrics are kept and sent
    later; what could not be sent at the end lies in `spool`, and the next `LiveMetrics` with the
    same spool (the resumed run's) sends it first.

    Args:
        connect: Opens the run; called in the thread, again after each failure.
        spool: The file for metrics that could not be sent.
        interval_seconds: Longest time between a report and its sending.

    Example:
        >>> with LiveMetrics(lambda: run, folder / "unsent.jsonl") as observer:  # doctest: +SKIP
        ...     train_model(observer=observer)
    """

    def __init__(
        self, connect: Callable[[], TrackedRun], spool: Path, interval_seconds: float = 2.0
    ) -> None:
        self._connect = connect
        self._spool = spool
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        self._points: list[MetricPoint] = _read_spool(spool)
        self._texts: dict[str, str] = {}
        self._run: TrackedRun | None = None
        self._is_away = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._send_often, name="mlflow", daemon=True)
        self._thread.start()

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Ignore the progress: MLflow has no place for it."""

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Keep metrics of an optimiser step, to be sent soon."""
        now_ms = int(time.time() * 1000)
        points = [
            MetricPoint(REFUSED_IN_KEYS.sub("_", key), float(value), step, now_ms)
            for key, value in metrics.items()
        ]
        with self._lock:
            self._points.extend(points)

    def report_text(self, name: str, text: str) -> None:
        """Keep a text, to be sent soon as an artifact; a later one of the same name replaces it."""
        with self._lock:
            self._texts[f"samples/{re.sub(r'[^A-Za-z0-9._-]+', '_', name)}.md"] = text

    def close(self, timeout_seconds: float = 30.0) -> None:
        """Send what is left, or spool it when the server stays away."""
        self._closing.set()
        self._thread.join(timeout_seconds)
        with self._lock:
            points, self._points = self._points, []
        if points:
            LOG.warning("%d metrics could not be sent to MLflow: %s", len(points), self._spool)
            write_jsonl(self._spool, [asdict(point) for point in points])
        else:
            self._spool.unlink(missing_ok=True)

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
                LOG.warning("MLflow does not take the metrics now, they are kept: %s", reason)
            self._is_away, self._run = True, None
            return False
        self._is_away = False
        return True

    def _send(self, points: list[MetricPoint], texts: dict[str, str]) -> None:
        if self._run is None:
            self._run = self._connect()
        log_points(self._run, points)
        with self._lock:  # reports only append, so what was sent is still at the front
            del self._points[: len(points)]
        for name, text in texts.items():
            self._run.client.log_text(self._run.run_id, text, name)
            with self._lock:
                if self._texts.get(name) == text:
                    del self._texts[name]


def send_unsent(run: TrackedRun, spool: Path) -> int:
    """Send what an ended training could not send, and remove the spool; nothing without one.

    Args:
        run: The run that gets it.
        spool: The file that `LiveMetrics` left.

    Returns:
        The number of metrics sent.

    Raises:
        RunError: MLflow does not take them; the spool stays.
    """
    points = _read_spool(spool)
    if points:
        with explain_failures("MLflow's tracking", find_tracking_uri()):
            log_points(run, points)
    spool.unlink(missing_ok=True)
    return len(points)


def _read_spool(spool: Path) -> list[MetricPoint]:
    if not spool.is_file():
        return []
    return [MetricPoint(**row) for row in read_jsonl(spool)]
