from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.formatting.rendering.encoding import BREAK
from tasks.formatting.rows.conversations import InvalidRowError
from tasks.formatting.rows.examples import Message, ToolCall
from tasks.formatting.rows.tool_parsing import check_call_ids, read_call, read_calls, read_tools

FUNCTION = {"name": "add", "description": "Adds é", "parameters": {"b": 1, "a": 2}}


def test_tools_keep_the_order_of_their_keys_and_all_that_stands_in_them() -> None:
    wrapped = {"type": "function", "function": FUNCTION, "strict": True}
    text = read_tools([wrapped], "tools")
    assert text == json.dumps([wrapped], ensure_ascii=False)
    assert read_tools(text, "tools") == text


@pytest.mark.parametrize("tools", [None, "", " ", [], "[]"])
def test_no_tools_are_none(tools: Any) -> None:
    assert read_tools(tools, "tools") == ""


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        ("[{", "broken_tools"),
        ("[NaN]", "broken_tools"),
        ("3", "broken_tools"),
        (3, "broken_tools"),
        (["add"], "broken_tools"),
        ([{"type": "web_search"}], "broken_tools"),
        ([{"type": "function", "function": {}}], "broken_tools"),
        ([{"name": f"add{BREAK}"}], "noncharacter"),
        (r'[{"name": "\ud800"}]', "broken_encoding"),
        ([{"name": "add", "default": float("nan")}], "broken_tools"),
    ],
)
def test_broken_tools_are_refused(tools: Any, reason: str) -> None:
    with pytest.raises(InvalidRowError) as caught:
        read_tools(tools, "tools")
    assert caught.value.rejection.reason == reason


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": "é"}'}},
        {"id": "c", "name": "f", "arguments": {"x": "é"}},
        {"id": "c", "name": "f", "parameters": r'{"x": "\u00e9"}'},
    ],
)
def test_a_call_has_one_shape(call: dict[str, Any]) -> None:
    assert read_call(call, "call") == ToolCall("f", '{"x": "é"}', "c")


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ({}, "broken_tool_call"),
        ([3], "broken_tool_call"),
        ([{"type": "custom", "name": "f"}], "broken_tool_call"),
        ([{"name": "f", "arguments": "x=1"}], "broken_tool_call"),
        ([{"name": "f", "arguments": [1]}], "broken_tool_call"),
        ([{"name": "f", "id": 3}], "not_text"),
        ([{"name": "f", "arguments": r'{"x": "\ud800"}'}], "broken_encoding"),
    ],
)
def test_broken_calls_are_refused(calls: Any, reason: str) -> None:
    with pytest.raises(InvalidRowError) as caught:
        read_calls(calls, "calls")
    assert caught.value.rejection.reason == reason


def test_a_result_answers_an_earlier_call() -> None:
    asked = Message("assistant", "", (ToolCall("f", "{}", "c1"),))
    check_call_ids((asked, Message("tool", "3", tool_call_id="c1")))
    check_call_ids((Message("tool", "3", tool_call_id="c1"),))  # calls may stand in plain text
    with pytest.raises(InvalidRowError, match='turn 1 answers the tool call "c2"'):
        check_call_ids((asked, Message("tool", "3", tool_call_id="c2")))
