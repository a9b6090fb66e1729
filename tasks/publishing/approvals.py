"""Approvals: what a run waits for, until when, and who answered why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from configs.errors import HoneError, RequestError
from tasks.records.handles import Decision, Record
from tasks.records.writing import read_json, write_json

QUESTION = "approval.json"
SHOWN_DIGITS = 12
REQUIRED = "publish.approval is required"


class NeedsApproval(HoneError):  # noqa: N818 - what happened, not a fault
    """The candidate is better, and a person has to agree before it is published."""

    code = "needs_approval"
    exit_code = 2


class Approval(Record):
    """A person's agreement to publish what one decision says is better."""

    decision_digest: str
    reason: str
    who: str


class Question(Record):
    """What a run waits for; `approval.json` in its folder."""

    decision_digest: str
    evidence: dict[str, str]
    """What the decision is bound to, by digest."""
    why: str
    """Why somebody has to agree."""
    asked: datetime
    expires: datetime
    state: Literal["waiting", "approved", "declined"] = "waiting"
    reason: str = ""
    """Why it was approved or declined."""
    who: str = ""


def ask_approval(run: Path, decision: Decision, why: str, days: float) -> Question:
    """Return a run's question about a decision; the one that was asked first stands.

    Asked for another reason it is another question: who approved a model before it was taken back
    has not approved it after.

    Args:
        run: The run's folder.
        decision: What says that the candidate is better.
        why: Why somebody has to agree.
        days: How long it may wait.
    """
    found = read_question(run)
    if found and (found.decision_digest, found.why) == (decision.digest, why):
        return found
    now = datetime.now(UTC)
    question = Question(
        decision_digest=decision.digest,
        evidence=decision.evidence,
        why=why,
        asked=now,
        expires=now + timedelta(days=days),
    )
    write_question(run, question)
    return question


def read_question(run: Path) -> Question | None:
    """Return what a run waits for, or waited for; None where it never did."""
    file = run / QUESTION
    return Question.model_validate(read_json(file)) if file.is_file() else None


def write_question(run: Path, question: Question) -> None:
    """Keep a run's question, or the answer to it."""
    write_json(run / QUESTION, question.model_dump(mode="json"))


def answer_question(question: Question, approval: Approval | None) -> Question:
    """Return a question as it stands now: approved, declined because nobody answered, or waiting.

    Raises:
        RequestError: The approval is of other evidence.
    """
    if approval:
        check_approval(approval, question.decision_digest)
    if question.state == "waiting" and datetime.now(UTC) >= question.expires:
        late = f"nobody approved it before {question.expires:%Y-%m-%d %H:%M} UTC"
        return question.model_copy(update={"state": "declined", "reason": late})
    if question.state == "waiting" and approval:
        agreed = {"state": "approved", "reason": approval.reason, "who": approval.who}
        return question.model_copy(update=agreed)
    return question


def read_approval(question: Question) -> Approval | None:
    """Return the approval that a question was answered with; None where it was not."""
    if question.state != "approved":
        return None
    return Approval(
        decision_digest=question.decision_digest, reason=question.reason, who=question.who
    )


def check_approval(approval: Approval, decision_digest: str) -> None:
    """Refuse an approval that was given to other evidence, or without a reason.

    Raises:
        RequestError: The digest is another one, or there is no reason.
    """
    if not is_same(approval.decision_digest, decision_digest):
        raise RequestError(
            where="decision",
            message=f"the approval is of {approval.decision_digest[:SHOWN_DIGITS]}, the decision "
            f"on this candidate is {decision_digest[:SHOWN_DIGITS]}: its evidence is another",
            hint="look at the evidence again, and approve that",
        )
    if not approval.reason.strip():
        raise RequestError(
            where="reason", message="an approval needs a reason", hint="say why it is published"
        )


def is_same(named: str, digest: str) -> bool:
    """Return whether a person names a decision: by its digest, or at least 12 digits of it.

    >>> is_same("a" * 12, "a" * 64), is_same("a", "a" * 64), is_same("", "a" * 64)
    (True, False, False)
    """
    return len(named) >= SHOWN_DIGITS and digest.startswith(named)
