from __future__ import annotations

from typing import Any

import pytest

from tasks.formatting.rows.answers import parse_kto, parse_preference
from tasks.formatting.rows.conversations import Conversation, InvalidRowError
from tasks.formatting.rows.examples import Message
from tasks.formatting.rows.formats import parse_row

EARLIER = [
    {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"},
    {"role": "user", "content": "Why?"},
]  # fmt: skip
SO, NO = {"role": "assistant", "content": "So."}, {"role": "assistant", "content": "No."}
READ = (
    Message("user", "Hi"), Message("assistant", "Ho", is_trained=False), Message("user", "Why?"),
    Message("assistant", "So."),
)  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": EARLIER, "chosen": [SO], "rejected": [NO]},
        {"prompt": EARLIER, "chosen": "So.", "rejected": "No."},
        {"chosen": [*EARLIER, SO], "rejected": [*EARLIER, NO]},
        {"messages": EARLIER, "chosen": [*EARLIER, SO], "rejected": NO},
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: Why?\n\nAssistant: So.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: Why?\n\nAssistant: No.",
        },
    ],
)
def test_only_the_chosen_answer_is_trained_on(row: dict[str, Any]) -> None:
    parsed = parse_preference(row, {})
    assert parsed.messages == READ
    assert parsed.rejected == (Message("assistant", "No."),)
    assert parsed.rejected_at == 3


def test_answers_that_part_early_keep_their_turns() -> None:
    parsed = parse_preference(
        {"chosen": [*EARLIER, SO], "rejected": [EARLIER[0], NO, EARLIER[2], NO]}, {}
    )
    assert [turn.is_trained for turn in parsed.messages] == [True] * 4
    assert parsed.rejected_at == 1
    assert [turn.content for turn in parsed.rejected] == ["No.", "Why?", "No."]


def test_tools_stand_in_the_input_of_openai_s_rows() -> None:
    row = {
        "input": {"messages": EARLIER, "tools": [{"name": "add"}]},
        "preferred_output": [SO],
        "non_preferred_output": [NO],
    }
    parsed = parse_preference(row, {})
    assert (parsed.messages, parsed.rejected_at, parsed.keys) == (READ, 3, tuple(row))
    assert parsed.tools == '[{"type": "function", "function": {"name": "add"}}]'


def test_a_system_prompt_moves_what_both_have_in_common() -> None:
    row = {"prompt": "Why?", "chosen": "So.", "rejected": ""}
    parsed = parse_row(row, "preference", {}, "Be brief.")
    assert isinstance(parsed, Conversation)
    assert parsed.messages[0] == Message("system", "Be brief.")
    assert parsed.rejected_at == 2
    assert parsed.rejected == (Message("assistant", ""),)


def test_a_conversation_may_repeat_the_prompt_without_its_system_turn() -> None:
    system = {"role": "system", "content": "Be brief."}
    row = {"prompt": [system, *EARLIER], "chosen": [*EARLIER, SO], "rejected": [*EARLIER, NO]}
    parsed = parse_preference(row, {})
    assert parsed.messages == (Message("system", "Be brief."), *READ)
    assert parsed.rejected_at == 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "What?", "chosen": [*EARLIER, SO], "rejected": "No."}, "other_prompt"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": EARLIER}, "other_prompt"),
        ({"chosen": [*EARLIER, SO], "rejected": EARLIER}, "no_last_answer"),
        ({"prompt": "Why?", "chosen": "", "rejected": "No."}, "empty_text"),
        ({"prompt": "Why?", "chosen": 3, "rejected": "No."}, "not_text"),
    ],
)
def test_broken_preferences_are_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRowError) as caught:
        parse_preference(row, {})
    assert caught.value.rejection.reason == reason


@pytest.mark.parametrize(
    ("label", "expected"), [(True, True), (0, False), ("TRUE", True), ("false ", False)]
)
def test_a_label_says_whether_the_completion_is_desired(label: Any, expected: bool) -> None:
    for row in (
        {"prompt": EARLIER, "completion": [SO], "label": label},
        {"messages": [*EARLIER, SO], "label": label},
    ):
        parsed = parse_kto(row, {})
        assert parsed.messages == READ
        assert parsed.label is expected


@pytest.mark.parametrize("label", [None, 2, "good", [True]])
def test_another_label_is_refused(label: Any) -> None:
    with pytest.raises(InvalidRowError, match="allowed: true and false"):
        parse_kto({"prompt": "Why?", "completion": "So.", "label": label}, {})
