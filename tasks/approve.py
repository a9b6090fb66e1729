"""Ask for a person's approval, and record what became of the question."""

from __future__ import annotations

import logging

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from configs.schema import RunConfig
from tasks.publishing.approvals import (
    Approval,
    Question,
    answer_question,
    ask_approval,
    write_question,
)
from tasks.records.handles import Decision
from tasks.records.runs import RunFolder
from tasks.tracking.runs import open_run, set_tags

LOG = logging.getLogger("hone")
STATE_TAG = "hone.approval"


@task(name="approve", cache_policy=NO_CACHE)
def wait_for_approval(
    run: RunFolder,
    decision: Decision,
    why: str,
    config: RunConfig,
    approval: Approval | None = None,
) -> Question:
    """Return the question about a decision as it stands: asked now, approved, or declined.

    Raises:
        RequestError: The approval is of other evidence, or without a reason.
    """
    question = ask_approval(run.folder, decision, why, config.publish.approval_days)
    question = answer_question(question, approval)
    write_question(run.folder, question)
    tracked = open_run(config.tracking.project, run.name, config.tracking.run_name)
    set_tags(tracked, list_tags(question))
    create_markdown_artifact(describe_question(question, decision, run), key="approval")
    LOG.info(
        "approve: %s (%s); decision %s; until %s: hone publish %s --approve REASON",
        question.state, question.reason or question.why, decision.digest,
        f"{question.expires:%Y-%m-%d %H:%M} UTC", run.path,
    )  # fmt: skip
    return question


def list_tags(question: Question) -> dict[str, str]:
    """Return what MLflow shows of a question."""
    return {
        STATE_TAG: question.state,
        f"{STATE_TAG}.decision": question.decision_digest,
        f"{STATE_TAG}.reason": question.reason or question.why,
        f"{STATE_TAG}.who": question.who,
    }


def describe_question(question: Question, decision: Decision, run: RunFolder) -> str:
    """Return a question with its evidence, as markdown."""
    evidence = [f"| {name} | `{digest}` |" for name, digest in sorted(question.evidence.items())]
    lines = [
        f"# {decision.model_name}: {question.state}",
        "",
        f"{question.why}.",
        f"Declined when nobody answers before {question.expires:%Y-%m-%d %H:%M} UTC.",
        "",
        f"Decision `{question.decision_digest}`: **{decision.verdict}**",
        "",
        *(f"- {reason}" for reason in decision.reasons),
        "",
        "| evidence | SHA-256 |",
        "|---|---|",
        *evidence,
        "",
        f"Approve it with `hone publish {run.path} --approve REASON`,",
        f"or by the `publish` deployment with run `{run.path}`, this decision and a reason.",
    ]
    return "\n".join(lines)
