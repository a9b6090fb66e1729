"""What the first process of a training reports to the one that launched it, as lines of JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.records.observer import Observer

LOG = logging.getLogger("hone")


class EventWriter(logging.Handler):
    """An observer, and a handler of the log, that append to a file.

    Args:
        path: The file; a restarted training appends to it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(logging.INFO)
        self._file = path.open("a", encoding="utf-8", buffering=1)  # a line at a time
        if self._file.tell():
            self._file.write("\n")  # ends what a killed process may have left

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Hand the progress on."""
        self._write("progress", done, total, unit)

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Hand the metrics on."""
        self._write("metrics", metrics, step)

    def report_text(self, name: str, text: str) -> None:
        """Hand the text on."""
        self._write("text", name, text)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a message of the log on."""
        self._write("log", record.levelno, record.getMessage())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _write(self, kind: str, *values: Any) -> None:
        self._file.write(json.dumps([kind, *values]) + "\n")


class EventReader:
    """Follows such a file.

    Args:
        path: The file; it may come later.
        observer: Gets what is reported; the log gets the log.
    """

    def __init__(self, path: Path, observer: Observer) -> None:
        self._path = path
        self._offset = 0
        self._receivers: dict[str, Callable[..., None]] = {
            "progress": observer.report_progress,
            "metrics": observer.report_metrics,
            "text": observer.report_text,
            "log": LOG.log,
        }

    def look(self) -> None:
        """Hand on what is new, as far as its lines are complete."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        for line in complete.splitlines():
            try:
                kind, *values = json.loads(line)
            except ValueError:  # its process was killed in the middle of it
                continue
            if kind == "log":  # the message is complete, and may hold a percent sign
                values = [values[0], "%s", values[1]]
            self._receivers[kind](*values)
