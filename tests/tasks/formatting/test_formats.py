from __future__ import annotations

from typing import Any

import pytest

from configs.errors import RequestError
from tasks.formatting.encoding import BREAK
from tasks.formatting.examples import Message
from tasks.formatting.formats import (
    Conversation,
    Rejection,
    check_roles,
    detect_format,
    parse_row,
)

QUESTION, ANSWER = Message("user", "Why?"), Message("assistant", "So.")
TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
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
    ],
}


def parse(row: dict[str, Any], name: Any = "messages", **roles: str) -> Conversation | Rejection:
    return parse_row(row, name, roles, None)


@pytest.mark.parametrize(("name", "row"), [(n, row) for n, rows in ROWS.items() for row in rows])
def test_every_format_gives_the_same_conversation(name: str, row: dict[str, Any]) -> None:
    assert detect_format(row) == name
    parsed = parse(row, name)
    assert isinstance(parsed, Conversation)
    assert parsed.messages == (QUESTION, ANSWER)


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
        ({"messages": [TURNS[0], TURNS[1] | {"weight": 0}]}, "messages", "unread_key"),
        ({"messages": TURNS, "tools": [{"name": "x"}]}, "messages", "unread_key"),
        ({"messages": [{"role": "user", "content": BREAK}, TURNS[1]]}, "messages", "noncharacter"),
        ({"messages": [{"role": "user", "content": "\0"}, TURNS[1]]}, "messages", "noncharacter"),
        ({"messages": [{"role": "user", "content": "\n"}, TURNS[1]]}, "messages", "empty_text"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "messages", "unknown_role"),
        ({"prompt": "Why?"}, "prompt-completion", "missing_key"),
        ({"prompt": "Why?", "completion": 3}, "prompt-completion", "not_text"),
        ({"instruction": "", "output": "So."}, "alpaca", "empty_text"),
        ({"instruction": "Why?", "output": "So.", "history": [["a", "b"]]}, "alpaca", "unread_key"),
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
