"""Show a stage's progress on the terminal, in the Prefect UI, and to other observers."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from prefect.exceptions import PrefectException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.records.observer import Observer

SECONDS_BETWEEN_UPDATES = 2.0  # each update is a request to the Prefect server


class TaskObserver:
    """The observer that a task hands to its library.

    Args:
        stage: The stage's name, shown beside the bar.
        others: Observers that hear everything too, such as the tracker's.
    """

    def __init__(self, stage: str, others: Sequence[Observer] = ()) -> None:
        self._stage = stage
        self._others = others
        self._artifact: UUID | None = None
        self._last_update = 0.0
        self._bar = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._row = self._bar.add_task(stage, unit="", total=None)

    def __enter__(self) -> TaskObserver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()  # also where the work ended early or badly

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Move the bar; update the artifact at most every two seconds."""
        if not self._bar.live.is_started and done < total:
            self._bar.start()
        self._bar.update(self._row, completed=done, total=total, unit=unit)
        if done >= total:
            self._bar.stop()
        now = time.monotonic()
        if done >= total or now - self._last_update >= SECONDS_BETWEEN_UPDATES:
            self._last_update = now
            self._update_artifact(100 * done / max(total, 1))
        for other in self._others:
            other.report_progress(done, total, unit)

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Hand the metrics on."""
        for other in self._others:
            other.report_metrics(metrics, step)

    def report_text(self, name: str, text: str) -> None:
        """Hand the text on."""
        for other in self._others:
            other.report_text(name, text)

    def _update_artifact(self, percent: float) -> None:
        if TaskRunContext.get() is None:
            return
        try:
            if self._artifact is None:
                created = create_progress_artifact(
                    percent, key=f"{self._stage.replace(' ', '-')}-progress"
                )
                assert isinstance(created, UUID)
                self._artifact = created
            else:
                update_progress_artifact(self._artifact, percent)
        except (PrefectException, httpx.HTTPError, OSError):
            return  # the bar is not worth the work that it shows: go on when the server is away
