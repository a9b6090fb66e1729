"""What a run returns, and the record from which it is made while the stages end."""

from __future__ import annotations

import time
from typing import Any, Literal, TypeVar

from tasks.records.handles import (
    Decision,
    Evaluation,
    FormattedData,
    Handle,
    Publication,
    Record,
    RowCounts,
    Verdict,
)
from tasks.records.runs import RunFolder

Stage = Literal["version", "format", "train", "evaluate", "decide", "publish"]
HandleT = TypeVar("HandleT", bound=Handle)
ARMS = ("baseline", "finetuned", "champion")


class StopAfterStage(Exception):  # noqa: N818 - no error: the run was asked to stop here
    """The stage that `until` names has ended."""


class PublishedVersion(Record):
    """Where a published model is."""

    name: str
    version: str
    path: str
    uri: str


class RunResult(Record):
    """The outcome of a run; its fields are the keys of `hone run --json`."""

    run_dir: str | None
    """The run folder; None where the run stopped before it had one."""
    data_commit: str
    verdict: Verdict | None
    """None where the run stopped before the decision."""
    publication: PublishedVersion | None
    metrics: dict[str, dict[str, dict[str, float]]]
    """By arm, split and metric."""
    rows: RowCounts | None
    """None where the run stopped before the rows were read."""
    seconds: dict[str, float]
    """By stage."""
    reused: tuple[str, ...]
    """The stages that were answered from a cache."""


class RunRecord:
    """Notes what each stage returned, how long it took, and whether it was reused."""

    def __init__(self, until: Stage | None) -> None:
        self.until = until
        self.handles: dict[str, Handle] = {}
        self.seconds: dict[str, float] = {}
        self.run: RunFolder | None = None
        self._last = time.monotonic()

    def note(self, name: str, handle: HandleT) -> HandleT:
        """Record that a stage has just ended with `handle`, and return the handle."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._last, 3)
        self._last = now
        self.handles[name] = handle
        return handle

    def stop_after(self, stage: Stage) -> None:
        """Stop here when the run was asked to.

        Raises:
            StopAfterStage: `until` names this stage.
        """
        if self.until == stage:
            raise StopAfterStage

    def find(self, name: str, kind: type[HandleT]) -> HandleT | None:
        """Return what a stage returned, or None when it did not run."""
        handle = self.handles.get(name)
        assert handle is None or isinstance(handle, kind)
        return handle

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """The evaluations by arm."""
        found = {arm: self.find(f"evaluate-{arm}", Evaluation) for arm in ARMS}
        return {arm: evaluation for arm, evaluation in found.items() if evaluation}

    def summarize(self) -> RunResult:
        """Return the outcome of the stages that have run."""
        formatted = self.find("format", FormattedData)
        decision = self.find("decide", Decision)
        published = self.find("publish", Publication)
        fields: dict[str, Any] = {
            "run_dir": self.run.path if self.run else None,
            "data_commit": getattr(self.handles["version"], "commit"),  # noqa: B009
            "verdict": decision.verdict if decision else None,
            "publication": published
            and published.model_dump(include=set(PublishedVersion.model_fields)),
            "metrics": {arm: e.metrics for arm, e in self.evaluations.items()},
            "rows": formatted.rows if formatted else None,
            "seconds": self.seconds,
            "reused": tuple(name for name, handle in self.handles.items() if handle.reused),
        }
        return RunResult.model_validate(fields)
