"""The one way in which progress and metrics leave a library."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """What a library reports to while it works; the task plugs in MLflow and Prefect.

    Every method must return quickly and never raise: work goes on when a tracker is away.
    """

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Say how far the work is: `done` of `total` `unit`s."""

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Hand on metrics measured at an optimiser step."""

    def report_text(self, name: str, text: str) -> None:
        """Hand on a text that a person may want to see now, such as a sample generation."""


class SilentObserver:
    """An observer that ignores everything."""

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Ignore the progress."""

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Ignore the metrics."""

    def report_text(self, name: str, text: str) -> None:
        """Ignore the text."""
