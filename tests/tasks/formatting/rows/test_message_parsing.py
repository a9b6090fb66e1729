from __future__ import annotations

from typing import Any

import pytest

from tasks.formatting.rendering.encoding import BREAK
from tasks.formatting.rows.conversations import InvalidRowError
from tasks.formatting.rows.examples import Message, ToolCall
from tasks.formatting.rows.message_parsing import PASSED_OVER_KEYS, read_turn, read_turns

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"b":1,"a":2}'}}
CALLED = (ToolCall("add", '{"b": 1, "a": 2}', "c1"),)


def read(turn: dict[str, Any], **roles: str) -> Message:
    return read_turn(turn, "messages[0]", roles)


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "user", "content": "Hi", "name": "Eva"}, Message("user", "Hi", name="Eva")),
        ({"role": "developer", "content": ""}, Message("system", "")),
        ({"role": "assistant", "content": "Hi", "weight": 1}, Message("assistant", "Hi")),
        (
            {"role": "assistant", "content": "Hi", "weight": 0},
            Message("assistant", "Hi", is_trained=False),
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "a "}, {"text": "b"}]},
            Message("user", "a b"),
        ),
        ({"role": "assistant", "tool_calls": [CALL]}, Message("assistant", "", CALLED)),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
            Message("assistant", "", CALLED),
        ),
        (
            {"role": "assistant", "content": "So", "tool_calls": [CALL["function"]]},
            Message("assistant", "So", (ToolCall("add", '{"b": 1, "a": 2}'),)),
        ),
        (
            {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": ""}},
            Message("assistant", "", (ToolCall("f", "{}"),)),
        ),
        (
            {"role": "tool", "content": "3", "tool_call_id": "c1"},
            Message("tool", "3", tool_call_id="c1"),
        ),
        ({"role": "function", "content": "3", "name": "add"}, Message("tool", "3", name="add")),
        ({"role": "user", "content": "Hi", "tool_calls": None}, Message("user", "Hi")),
        ({"from": "human", "value": "Hi", "weight": None}, Message("user", "Hi")),
        (
            {"from": "function_call", "value": '[{"name": "f", "arguments": {"x": [1.0]}}]'},
            Message("assistant", "", (ToolCall("f", '{"x": [1.0]}'),)),
        ),
        ({"from": "observation", "value": ""}, Message("tool", "")),
        ({"role": "user", "content": "Hi", "timestamp": 3, "id": "a"}, Message("user", "Hi")),
    ],
)
def test_a_turn_becomes_a_message(turn: dict[str, Any], message: Message) -> None:
    assert read(turn) == message


@pytest.mark.parametrize(
    ("turn", "reason", "detail"),
    [
        ("Hi", "not_messages", 'messages[0] is not a message; found "Hi"'),
        ({"content": "Hi"}, "unknown_role", "messages[0] has no role"),
        ({"from": "bot", "value": "Hi"}, "unknown_role", 'role "bot" is not one of'),
        ({"role": "user", "content": "Hi", "mood": "x"}, "unread_key", 'the key "mood" of mess'),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            "unread_part", 'messages[0].content[0] is of the type "image_url"',
        ),
        ({"role": "user", "content": [{"type": ["text"]}]}, "unread_part", "is of the type"),
        ({"role": "user", "content": [{"type": "text"}]}, "not_text", "messages[0].content[0]"),
        ({"role": "user", "content": []}, "empty_text", "messages[0].content is empty"),
        ({"role": "user", "content": [BREAK]}, "noncharacter", "U+FDD0"),
        ({"role": "assistant", "content": "a", "weight": 0.5}, "broken_weight", "allowed: 0 and 1"),
        ({"role": "user", "content": "a", "weight": 1}, "broken_weight", "only assistant turns"),
        ({"role": "user", "content": "a", "tool_calls": [CALL]}, "broken_tool_call", "user turn"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "broken_tool_call", "has no name"),
        ({"role": "tool", "content": "a", "tool_call_id": 3}, "not_text", "tool_call_id is not"),
        ({"from": "function_call", "value": "add(1)"}, "broken_tool_call", "value is no JSON"),
        ({"from": "function_call", "value": "[]"}, "broken_tool_call", "holds no call"),
    ],
)  # fmt: skip
def test_a_broken_turn_is_refused_in_words(turn: Any, reason: str, detail: str) -> None:
    with pytest.raises(InvalidRowError) as caught:
        read(turn)
    assert caught.value.rejection.reason == reason
    assert detail in caught.value.rejection.detail


def test_mapped_names_go_before_those_of_other_systems() -> None:
    assert read({"role": "developer", "content": "Hi"}, developer="user").role == "user"


def test_the_keys_that_are_passed_over_say_nothing() -> None:
    turns = [{"role": "user", "content": "Hi", **dict.fromkeys(PASSED_OVER_KEYS, "x")}]
    assert read_turns(turns, "messages", {}) == (Message("user", "Hi"),)
