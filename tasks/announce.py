"""Announce what became of a run, as a Prefect event that automations can act upon."""

from __future__ import annotations

from typing import Literal

from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.utilities.urls import url_for

from tasks.publishing.approvals import read_question
from tasks.records.handles import Decision
from tasks.records.results import StageResults
from tasks.records.runs import RunFolder

Outcome = Literal["published", "declined", "waiting"]
MAX_REASON = 500  # characters; the report has all of it


def announce_end(name: str, run: RunFolder, results: StageResults) -> Outcome | None:
    """Emit `hone.published`, `hone.declined` or `hone.waiting`, if the run decided anew.

    What fails or crashes is told by Prefect's own events, also when the process was killed. An
    unchanged run, whose decision was there before, announces nothing.

    Args:
        name: The model's name.
        run: The run's folder.
        results: What its stages returned.

    Returns:
        What was announced.
    """
    decision, publication = results.decision, results.publication
    outcome = find_outcome(run, results)
    if decision is None or outcome is None:
        return None
    if publication.reused if publication else decision.reused:
        return None
    announce(outcome, name, run.path, decision, publication.version if publication else None)
    return outcome


def find_outcome(run: RunFolder, results: StageResults) -> Outcome | None:
    """Return what became of a run; None where it stopped before that was known."""
    if results.publication:
        return "published"
    if results.decision and results.decision.verdict != "better":
        return "declined"
    question = read_question(run.folder)
    return "waiting" if question and question.state == "waiting" else None


def announce(
    outcome: Outcome, name: str, run: str, decision: Decision, version: str | None = None
) -> None:
    """Emit an event about a model, with figures and a link, and neither rows nor secrets.

    Args:
        outcome: What happened.
        name: The model's name.
        run: The run folder's path, relative to HONE_HOME.
        decision: What it rests on.
        version: The version that was published.
    """
    emit_event(
        event=f"hone.{outcome}",
        resource={
            "prefect.resource.id": f"hone.model.{name}",
            "prefect.resource.name": name,
            "hone.verdict": decision.verdict,
        },
        payload={
            "model": name,
            "version": version or "",
            "uri": f"models:/{name}/{version}" if version else "",
            "verdict": decision.verdict,
            "reason": " ".join(decision.reasons)[:MAX_REASON],
            "look": decision.look,
            "decision": decision.digest,
            "run": run,
            "link": find_link(),
        },
    )


def announce_drift(name: str, version: str, *, reason: str, source: str, num_rows: int) -> None:
    """Emit `hone.drifted`: a published model is worse on fresh rows than it was published.

    Args:
        name: The model's name.
        version: The champion's.
        reason: The figures, in words.
        source: Where the fresh rows are, without a path of this machine.
        num_rows: How many were scored.
    """
    emit_event(
        event="hone.drifted",
        resource={
            "prefect.resource.id": f"hone.model.{name}",
            "prefect.resource.name": name,
            "hone.verdict": "drifted",
        },
        payload={
            "model": name,
            "version": version,
            "uri": f"models:/{name}/{version}",
            "verdict": "drifted",
            "reason": reason[:MAX_REASON],
            "source": source,
            "rows": num_rows,
            "link": find_link(),
        },
    )


def find_link() -> str:
    """Return the address of this flow run's page; empty where no server shows one."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return ""
    return url_for("flow-run", context.flow_run.id) or ""
