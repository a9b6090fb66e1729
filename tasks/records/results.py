"""What the stages of one run have returned so far, how long each took, and which were reused."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeVar

from tasks.records.handles import (
    Arm,
    DataVersion,
    Decision,
    Evaluation,
    Forecast,
    FormattedData,
    Handle,
    PreparedData,
    Publication,
    TrainedModel,
)

HandleT = TypeVar("HandleT", bound=Handle)
ARMS: tuple[Arm, ...] = ("baseline", "finetuned", "champion")
STAGES: dict[str, type[Handle]] = {
    "version": DataVersion,
    "format": FormattedData,
    "prepare": PreparedData,
    "train": TrainedModel,
    **{f"evaluate-{arm}": Evaluation for arm in ARMS},
    "decide": Decision,
    "forecast": Forecast,
    "publish": Publication,
}
"""What each stage returns."""


def read_handles(rows: Mapping[str, Any]) -> dict[str, Handle]:
    """Return what stages returned, from JSON; stages of another hone are passed over."""
    return {name: STAGES[name].model_validate(row) for name, row in rows.items() if name in STAGES}


class Handles:
    """What the stages of a run returned, by name and type."""

    def __init__(self, handles: Mapping[str, Handle]) -> None:
        self._handles = handles

    def find(self, stage: str, kind: type[HandleT]) -> HandleT | None:
        """Return what a stage returned; None where it did not run."""
        handle = self._handles.get(stage)
        assert handle is None or isinstance(handle, kind)
        return handle


class StageResults:
    """The record of a run; a stage's name is that of its Prefect task run."""

    def __init__(self) -> None:
        self.handles: dict[str, Handle] = {}
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def note(self, name: str, handle: HandleT) -> HandleT:
        """Record that a stage has just ended with `handle`, and return the handle."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 3)
        self._last = now
        self.handles[name] = handle
        return handle

    def forget(self, name: str) -> None:
        """Take back what a stage returned, because it is about to be asked again."""
        self.handles.pop(name, None)

    @property
    def data(self) -> DataVersion | None:
        """The data version."""
        return Handles(self.handles).find("version", DataVersion)

    @property
    def formatted(self) -> FormattedData | None:
        """The formatted data."""
        return Handles(self.handles).find("format", FormattedData)

    @property
    def trained(self) -> TrainedModel | None:
        """What was trained."""
        return Handles(self.handles).find("train", TrainedModel)

    @property
    def candidate(self) -> TrainedModel | None:
        """What is evaluated and published: what was trained, or that merged into its base."""
        return Handles(self.handles).find("merge", TrainedModel) or self.trained

    @property
    def arms(self) -> dict[Arm, Evaluation]:
        """The evaluations by arm."""
        found = {arm: Handles(self.handles).find(f"evaluate-{arm}", Evaluation) for arm in ARMS}
        return {arm: evaluation for arm, evaluation in found.items() if evaluation}

    @property
    def decision(self) -> Decision | None:
        """The verdict."""
        return Handles(self.handles).find("decide", Decision)

    @property
    def forecast(self) -> Forecast | None:
        """What the whole run will take; only a pilot has it."""
        return Handles(self.handles).find("forecast", Forecast)

    @property
    def shown_split(self) -> str:
        """The evaluation set that plots and examples are of."""
        return self.forecast.whole.split if self.forecast else "test"

    @property
    def publication(self) -> Publication | None:
        """What was published."""
        return Handles(self.handles).find("publish", Publication)

    @property
    def reused(self) -> tuple[str, ...]:
        """The stages that were answered from a cache."""
        return tuple(name for name, handle in self.handles.items() if handle.reused)

    @property
    def is_reused(self) -> bool:
        """Whether nothing was computed anew."""
        return len(self.reused) == len(self.handles)

    def describe(self) -> dict[str, Any]:
        """Return the record as JSON types."""
        return {
            "handles": {name: h.model_dump(mode="json") for name, h in self.handles.items()},
            "seconds": self.seconds,
            "reused": list(self.reused),
        }
