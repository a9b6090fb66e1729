from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.publishing.approvals import (
    Approval,
    answer_question,
    ask_approval,
    read_approval,
    read_question,
    write_question,
)

from .conftest import make_decision

DECISION = make_decision("c" * 64, None).model_copy(update={"digest": "d" * 64})
APPROVAL = Approval(decision_digest="d" * 64, reason="looks right", who="ada@lab")


def test_the_first_question_stands(tmp_path: Path) -> None:
    first = ask_approval(tmp_path, DECISION, "because", days=2)
    assert first.expires - first.asked == timedelta(days=2)
    assert ask_approval(tmp_path, DECISION, "because", days=9) == first == read_question(tmp_path)
    taken_back = ask_approval(tmp_path, DECISION, "it was taken back", days=2)
    assert taken_back.asked > first.asked
    other = DECISION.model_copy(update={"digest": "e" * 64})
    assert ask_approval(tmp_path, other, "because", days=9).decision_digest == "e" * 64


def test_an_approval_is_kept_with_who_and_why(tmp_path: Path) -> None:
    question = ask_approval(tmp_path, DECISION, "because", days=2)
    assert read_approval(question) is None
    answered = answer_question(question, APPROVAL)
    assert (answered.state, answered.reason) == ("approved", "looks right")
    write_question(tmp_path, answered)
    assert (
        read_approval(answer_question(ask_approval(tmp_path, DECISION, "because", 2), None))
        == APPROVAL
    )


def test_what_nobody_answers_in_time_is_declined(tmp_path: Path) -> None:
    question = ask_approval(tmp_path, DECISION, "because", days=2)
    late = question.model_copy(update={"expires": datetime.now(UTC) - timedelta(seconds=1)})
    declined = answer_question(late, APPROVAL)
    assert declined.state == "declined"
    assert "nobody approved it before" in declined.reason
    assert answer_question(declined, APPROVAL) == declined


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decision_digest": "e" * 64}, "the approval is of eeeeeeeeeeee, the decision"),
        ({"decision_digest": "d" * 11}, "its evidence is another"),
        ({"decision_digest": ""}, "its evidence is another"),
        ({"reason": " "}, "needs a reason"),
    ],
)
def test_other_evidence_and_no_reason_are_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    question = ask_approval(tmp_path, DECISION, "because", days=2)
    with pytest.raises(RequestError, match=message):
        answer_question(question, APPROVAL.model_copy(update=change))
