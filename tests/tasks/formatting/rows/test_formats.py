from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from configs.schema import FormatName
from tasks.formatting.rendering.encoding import BREAK
from tasks.formatting.rows.columns import KNOWN_KEYS
from tasks.formatting.rows.examples import Message
from tasks.formatting.rows.formats import (
    FORMAT_KEYS,
    Conversation,
    Rejection,
    check_roles,
    detect_format,
    filter_conversation,
    parse_row,
)
from tasks.formatting.rows.message_parsing import READ_KEYS
from tasks.formatting.rows.row_parsers import PARSERS

QUESTION, ANSWER = Message("user", "Why?"), Message("assistant", "So.")
TOOL = {"name": "add", "parameters": {"type": "object"}}
TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
NO = {"role": "assistant", "content": "No."}
ROWS: dict[str, list[dict[str, Any]]] = {
    "messages": [{"messages": TURNS, "kind": "x"}],
    "prompt-completion": [
        {"prompt": "Why?", "completion": "So."},
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
    ],
    "alpaca": [
        {"instruction": "Why?", "input": "", "output": "So."},
        {"instruction": "Why?", "output": "So."},
        {"instruction": "Why?", "context": None, "response": "So."},
        {"instruction": "Why?", "output": "So.", "history": []},
    ],
    "sharegpt": [
        {
            "conversations": [
                {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."},
            ]
        },
        {"conversations": TURNS},
        {"conversations": TURNS, "system": "", "tools": "[]"},
    ],
    "preference": [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": "Why?", "chosen": TURNS, "rejected": [TURNS[0], NO]},
        {"prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": [NO]},
        {"chosen": TURNS, "rejected": [TURNS[0], NO]},
        {"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": NO},
        {
            "input": {"messages": TURNS[:1], "tools": [], "parallel_tool_calls": True},
            "preferred_output": TURNS[1:],
            "non_preferred_output": [NO],
        },
    ],
    "kto": [
        {"prompt": "Why?", "completion": "So.", "label": True},
        {"prompt": TURNS[:1], "completion": TURNS[1:], "label": False},
    ],
}  # fmt: skip


def parse(row: dict[str, Any], name: Any = "messages", **roles: str) -> Conversation | Rejection:
    return parse_row(row, name, roles, None)


@pytest.mark.parametrize(("name", "row"), [(n, row) for n, rows in ROWS.items() for row in rows])
def test_every_format_gives_the_same_conversation(name: str, row: dict[str, Any]) -> None:
    assert detect_format(row) == name
    parsed = parse(row, name)
    assert isinstance(parsed, Conversation)
    assert parsed.messages == (QUESTION, ANSWER)
    if name == "preference":
        assert (parsed.rejected, parsed.rejected_at) == ((Message("assistant", "No."),), 1)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "Why?", "completion": "So.", "label": "physics"}, "prompt-completion"),
        ({"messages": TURNS, "label": True}, "messages"),
        ({"messages": TURNS, "chosen": NO, "rejected": NO}, "preference"),
        ({"title": "x"}, None),
    ],
)
def test_a_format_is_told_by_its_keys(row: dict[str, Any], name: str | None) -> None:
    assert detect_format(row) == name


def test_there_is_a_parser_for_every_format() -> None:
    assert set(FORMAT_KEYS) == set(PARSERS) == set(get_args(FormatName))


@pytest.mark.parametrize("key", ["tools", "functions"])
def test_tools_are_kept_in_one_shape(key: str) -> None:
    for tools in ([TOOL], [{"type": "function", "function": TOOL}], json.dumps([TOOL])):
        parsed = parse({"messages": TURNS, key: tools, "parallel_tool_calls": False})
        assert isinstance(parsed, Conversation)
        assert json.loads(parsed.tools) == [{"type": "function", "function": TOOL}]
        assert parsed.keys == ("messages", *sorted([key, "parallel_tool_calls"]))


def test_the_system_key_stands_before_the_turns_once() -> None:
    system = {"role": "system", "content": "Be brief."}
    for turns in (TURNS, [system, *TURNS]):
        parsed = parse({"messages": turns, "system": "Be brief."})
        assert isinstance(parsed, Conversation)
        assert parsed.messages == (Message("system", "Be brief."), QUESTION, ANSWER)


def test_several_system_turns_stay_where_they_are() -> None:
    system = {"role": "developer", "content": "Be brief."}
    parsed = parse({"messages": [system, TURNS[0], system, TURNS[1]]})
    assert isinstance(parsed, Conversation)
    assert [turn.role for turn in parsed.messages] == ["system", "user", "system", "assistant"]


def test_only_undesired_rows_are_left_out_by_supervised_training() -> None:
    for label, reason in ((True, None), (False, "undesired")):
        parsed = parse({"prompt": "Why?", "completion": "So.", "label": label}, "kto")
        assert isinstance(parsed, Conversation)
        assert parsed.label is label
        found = filter_conversation(parsed)
        assert (found and found.reason) == reason


def test_the_history_of_alpaca_comes_first() -> None:
    parsed = parse({"instruction": "Why?", "output": "So.", "history": [["Hi", "Ho"]]}, "alpaca")
    assert isinstance(parsed, Conversation)
    assert parsed.messages == (
        Message("user", "Hi"), Message("assistant", "Ho"), QUESTION, ANSWER,
    )  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from([*sorted(KNOWN_KEYS), "images", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(sorted(READ_KEYS)) | st.just("function"), inner, max_size=4
                )
            ),
        ),
    ),
    st.sampled_from(sorted(PARSERS)),
)
@settings(max_examples=120, deadline=None)
def test_any_row_is_understood_or_rejected_in_words(row: dict[str, Any], name: FormatName) -> None:
    parsed = parse_row(row, name, {}, "Be brief.")
    if isinstance(parsed, Rejection):
        assert parsed.reason
        assert parsed.detail
    elif name != "text":
        assert parsed.messages[-1].role == "assistant"


def test_the_context_and_the_system_turn_of_alpaca_are_part_of_the_prompt() -> None:
    row = {"instruction": "Add.", "input": "1 2", "output": "3", "system": "Be brief."}
    parsed = parse(row, "alpaca")
    assert isinstance(parsed, Conversation)
    assert parsed.messages == (
        Message("system", "Be brief."), Message("user", "Add.\n\n1 2"), Message("assistant", "3"),
    )  # fmt: skip


@pytest.mark.parametrize("key", ["text", "content"])
def test_a_text_row_is_text(key: str) -> None:
    assert detect_format({key: "abc"}) == "text"
    assert parse({key: "abc"}, "text") == Conversation((), "abc", (key,))


def test_an_unknown_role_is_named_with_what_to_do() -> None:
    parsed = parse({"messages": [TURNS[0], {"role": "bot", "content": "So."}]})
    assert isinstance(parsed, Rejection)
    assert parsed.reason == "unknown_role"
    assert parsed.detail == (
        'role "bot" is not one of system, user, assistant, tool; map it with data.roles'
    )


def test_mapped_roles_are_used_and_counted() -> None:
    parsed = parse({"messages": [TURNS[0], {"role": "bot", "content": "So."}]}, bot="assistant")
    assert isinstance(parsed, Conversation)
    assert parsed.messages == (QUESTION, ANSWER)
    assert parsed.mapped_roles == ("bot",)


@pytest.mark.parametrize(
    ("roles", "where"),
    [({"bot": "robot"}, "data.roles.bot"), ({"user": "assistant"}, "data.roles.user")],
)
def test_a_role_map_that_makes_no_sense_is_refused(roles: dict[str, str], where: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_roles(roles)
    assert caught.value.where == where


def test_the_system_prompt_goes_before_conversations_that_have_none() -> None:
    system = {"role": "system", "content": "Mine."}
    without = parse_row({"messages": TURNS}, "messages", {}, "Yours.")
    with_own = parse_row({"messages": [system, *TURNS]}, "messages", {}, "Yours.")
    assert isinstance(without, Conversation)
    assert isinstance(with_own, Conversation)
    assert without.messages[0] == Message("system", "Yours.")
    assert with_own.messages[0] == Message("system", "Mine.")


@pytest.mark.parametrize(
    ("row", "name", "reason"),
    [
        ({"messages": TURNS[:1]}, "messages", "no_assistant_turn"),
        ({"messages": TURNS[1:]}, "messages", "no_prompt"),
        ({"messages": [*TURNS, TURNS[0]]}, "messages", "no_last_answer"),
        ({"messages": []}, "messages", "not_messages"),
        ({"messages": "Why?"}, "messages", "not_messages"),
        ({"messages": ["Why?"]}, "messages", "not_messages"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": " "}]}, "messages", "empty_text"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": None}]}, "messages", "not_text"),
        ({"messages": [TURNS[0], {"content": "So."}]}, "messages", "unknown_role"),
        ({"messages": [TURNS[0], TURNS[1] | {"weight": 0}]}, "messages", "nothing_trained"),
        ({"messages": TURNS, "images": ["a.png"]}, "messages", "unread_key"),
        ({"messages": TURNS, "tools": [{"title": "x"}]}, "messages", "broken_tools"),
        ({"messages": TURNS, "tools": [TOOL], "functions": [TOOL]}, "messages", "broken_tools"),
        ({"messages": TURNS, "system": 3}, "messages", "not_text"),
        ({"messages": [{"role": "system", "content": "x"}, TURNS[1]]}, "messages", "no_prompt"),
        ({"messages": [{"role": "user", "content": BREAK}, TURNS[1]]}, "messages", "noncharacter"),
        ({"messages": [{"role": "user", "content": "\0"}, TURNS[1]]}, "messages", "noncharacter"),
        ({"messages": [{"role": "user", "content": "\n"}, TURNS[1]]}, "messages", "empty_text"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "messages", "unknown_role"),
        ({"prompt": "Why?"}, "prompt-completion", "missing_key"),
        ({"chosen": "So.", "rejected": "No."}, "preference", "no_prompt"),
        (
            {"input": "Why?", "preferred_output": [], "non_preferred_output": []},
            "preference",
            "not_messages",
        ),
        ({"prompt": "Why?", "completion": "So.", "label": "good"}, "kto", "broken_label"),
        ({"conversations": []}, "sharegpt", "not_messages"),
        ({"prompt": "Why?", "completion": 3}, "prompt-completion", "not_text"),
        ({"instruction": "", "output": "So."}, "alpaca", "empty_text"),
        ({"instruction": "Why?", "output": "So.", "history": ["a"]}, "alpaca", "not_messages"),
        ({"text": ""}, "text", "empty_text"),
        ({"title": "x"}, "text", "missing_key"),
    ],
)
def test_a_broken_row_is_rejected_with_its_reason(
    row: dict[str, Any], name: str, reason: str
) -> None:
    parsed = parse(row, name)
    assert isinstance(parsed, Rejection)
    assert parsed.reason == reason
    assert parsed.detail


@pytest.mark.parametrize(
    ("row", "name", "mapped"),
    [
        ({"instruction": "Why?", "output": "So.", "history": [["Hi", "Ho"]]}, "alpaca", ()),
        ({"messages": TURNS, "tools": [TOOL | {"role": ["bot"]}]}, "messages", ()),
        (
            {"prompt": "Why?", "chosen": {"role": "bot", "content": "So."}, "rejected": NO},
            "preference", ("bot",),
        ),
    ],
)  # fmt: skip
def test_mapped_roles_are_counted_in_turns_alone(
    row: dict[str, Any], name: FormatName, mapped: tuple[str, ...]
) -> None:
    parsed = parse_row(row, name, {"bot": "assistant"}, None)
    assert isinstance(parsed, Conversation)
    assert parsed.mapped_roles == mapped


def test_an_empty_input_beside_a_context_does_not_hide_it() -> None:
    row = {"instruction": "Why?", "input": "", "context": "It rains.", "output": "So."}
    parsed = parse(row, "alpaca")
    assert isinstance(parsed, Conversation)
    assert parsed.messages == (Message("user", "Why?\n\nIt rains."), ANSWER)
    assert set(parsed.keys) >= row.keys()
