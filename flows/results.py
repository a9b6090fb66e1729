"""What a run returns: the keys of `hone run --json`."""

from __future__ import annotations

from typing import Literal

from tasks.records.handles import Publication, Record, RowCounts, Verdict
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
    )


def _describe_publication(publication: Publication | None) -> PublishedVersion | None:
    if publication is None:
        return None
    return PublishedVersion.model_validate(
        publication.model_dump(include=set(PublishedVersion.model_fields))
    )
