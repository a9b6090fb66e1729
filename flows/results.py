"""What a run returns: the keys of `hone run --json`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from configs.errors import RequestError
from tasks.publishing.approvals import read_question
from tasks.publishing.delivery import read_copies
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


class Waiting(Record):
    """What waits for a person's approval, and how to give it."""

    why: str
    decision: str
    """The decision's digest, which an approval names."""
    evidence: dict[str, str]
    """What the decision is bound to, by digest."""
    expires: datetime
    """When it is declined, unless somebody approves."""
    command: str


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
    waiting: Waiting | None = None
    """What waits for approval; None where nothing does."""

    def to_json(self) -> dict[str, Any]:
        """Return the keys of `hone run --json`; `pilot` and `waiting` only where there is one."""
        absent = {name for name in ("pilot", "waiting") if getattr(self, name) is None}
        return self.model_dump(mode="json", exclude=absent)


def summarize_run(results: StageResults, run: RunFolder | None) -> RunResult:
    """Return the outcome of the stages that have run, and what waits for approval."""
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
        waiting=describe_waiting(run) if run and results.publication is None else None,
    )


class PublishResult(Record):
    """The outcome of a publication by hand: the keys of `hone publish --json`."""

    run_dir: str
    verdict: Verdict
    decision: str
    """The decision's digest."""
    reasons: tuple[str, ...]
    """The decision's."""
    publication: PublishedVersion | None
    """None where the answer is no, or somebody has to approve."""
    copies: tuple[str, ...]
    """Where the version is besides its folder and the registry: on the hub, as a package."""
    waiting: Waiting | None
    declined: str
    """Why it will not be published any more; empty where it may be."""


def summarize_publication(run: RunFolder, results: StageResults) -> PublishResult:
    """Return what became of a run that was to be published by hand."""
    assert results.decision is not None, "it was opened with one"
    published, question = results.publication, read_question(run.folder)
    is_declined = published is None and question is not None and question.state == "declined"
    return PublishResult(
        run_dir=run.path,
        verdict=results.decision.verdict,
        decision=results.decision.digest,
        reasons=results.decision.reasons,
        publication=_describe_publication(published),
        copies=read_copies(published.folder).places if published else (),
        waiting=None if published else describe_waiting(run),
        declined=question.reason if question and is_declined else "",
    )


def describe_waiting(run: RunFolder) -> Waiting | None:
    """Return what a run waits for; None where it waits for nothing."""
    question = read_question(run.folder)
    if question is None or question.state != "waiting":
        return None
    return Waiting(
        why=question.why,
        decision=question.decision_digest,
        evidence=question.evidence,
        expires=question.expires,
        command=f"hone publish {run.path} --approve REASON",
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
