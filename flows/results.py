"""What a run returns: the keys of `hone run --json`."""

from __future__ import annotations

from typing import Any, Literal

from configs.errors import RequestError
from tasks.records.handles import Publication, Record, RowCounts, Verdict, WholeRun
from tasks.records.results import StageResults
from tasks.records.runs import RunFolder

Stage = Literal["version", "format", "train", "evaluate", "decide", "publish"]


class PublishedVersion(Record):
    """Where a published model is."""

    name: str
    version: str
    path: str
    uri: str


class RunResult(Record):
    """The outcome of a run."""

    run_dir: str | None
    """The run folder, relative to HONE_HOME; None where the run stopped before it had one."""
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
    pilot: WholeRun | None = None
    """What the whole run will take; None where this was no pilot."""

    def to_json(self) -> dict[str, Any]:
        """Return the keys of `hone run --json`; `pilot` is one of them in a pilot."""
        return self.model_dump(mode="json", exclude=None if self.pilot else {"pilot"})


def summarize_run(results: StageResults, run: RunFolder | None) -> RunResult:
    """Return the outcome of the stages that have run."""
    assert results.data is not None, "the first stage has not run"
    return RunResult(
        run_dir=run.path if run else None,
        data_commit=results.data.commit,
        verdict=results.decision.verdict if results.decision else None,
        publication=_describe_publication(results.publication),
        metrics={arm: evaluation.metrics for arm, evaluation in results.arms.items()},
        rows=results.formatted.rows if results.formatted else None,
        seconds=results.seconds,
        reused=results.reused,
        pilot=results.forecast.whole if results.forecast else None,
    )


def _describe_publication(publication: Publication | None) -> PublishedVersion | None:
    if publication is None:
        return None
    return PublishedVersion.model_validate(
        publication.model_dump(include=set(PublishedVersion.model_fields))
    )


def check_pilot(*, pilot: bool, until: Stage | None) -> None:
    """Refuse a pilot that would stop before it has measured what it is for.

    Raises:
        RequestError: It is asked to stop after a stage.
    """
    if pilot and until:
        raise RequestError(
            message=f"a pilot is short, and runs to its end: found until={until}",
            where="pilot",
            hint="leave one of the two out",
        )
