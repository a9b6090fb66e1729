"""The turns of a row: checked one by one, and turned into messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.formatting.rendering.encoding import BREAK
from tasks.formatting.rows.conversations import InvalidRowError
from tasks.formatting.rows.messages import PLAIN_KEYS, ROLES, Message, ToolCall
from tasks.formatting.rows.tool_parsing import (
    check_identifier,
    read_call,
    read_call_text,
    read_calls,
    show_value,
)

# Names of roles that other systems use for ours; `data.roles` goes before them.
ROLE_NAMES = {name: name for name in ROLES} | {"developer": "system", "function": "tool"}
SHAREGPT_ROLES = ROLE_NAMES | {
    "human": "user",
    "gpt": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
CALL_ROLES = frozenset({"function_call", "tool_call"})  # the whole text is a call in JSON
READ_KEYS = PLAIN_KEYS | {
    "name", "tool_calls", "tool_call_id", "function_call", "weight", "from", "value",
}  # fmt: skip
# Keys that say when, where and by whom a turn was written, not what a model learns from it.
# Any other key that has a value is refused by its name: it may change the meaning of the turn.
PASSED_OVER_KEYS = frozenset(
    {
        "id", "message_id", "turn_id", "turn", "turn_identifier", "index", "timestamp", "time",
        "date", "create_time", "created_at", "update_time", "model", "language", "country",
        "hashed_ip", "header", "annotations", "token_count", "num_tokens",
    }
)  # fmt: skip
# Content parts that are text, as OpenAI's chat and responses interfaces name them.
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})


def read_turns(value: Any, key: str, roles: Mapping[str, str]) -> tuple[Message, ...]:
    """Return the messages of a list of turns with `role` and `content` (or `from` and `value`).

    Args:
        value: What the row has under `key`.
        key: The row's key, for errors.
        roles: Foreign role names and what they mean (`data.roles`).

    Raises:
        InvalidRowError: It is no such list, or a turn is broken.
    """
    if not isinstance(value, list) or not value:
        detail = f"{key} is not a list of messages; found {show_value(value)}"
        raise InvalidRowError("not_messages", detail)
    return tuple(
        [
            _read_plain_turn(turn) or read_turn(turn, f"{key}[{i}]", roles)
            for i, turn in enumerate(value)
        ]
    )


def read_turn(turn: Any, place: str, roles: Mapping[str, str]) -> Message:
    """Return the message of one turn.

    Raises:
        InvalidRowError: It is broken, or holds what hone does not read.
    """
    if not isinstance(turn, dict):
        raise InvalidRowError("not_messages", f"{place} is not a message; found {show_value(turn)}")
    _check_keys(turn, place)
    is_sharegpt = "from" in turn
    role_key, text_key = ("from", "value") if is_sharegpt else ("role", "content")
    if role_key not in turn:
        raise InvalidRowError("unknown_role", f"{place} has no role")
    name = turn[role_key]
    role = read_role(name, roles, SHAREGPT_ROLES if is_sharegpt else ROLE_NAMES)
    content, calls = turn.get(text_key), _read_turn_calls(turn, place)
    if is_sharegpt and name in CALL_ROLES and role == "assistant":
        calls, content = (*calls, *read_call_text(content, f"{place}.{text_key}")), ""
    if calls and role != "assistant":
        raise InvalidRowError("broken_tool_call", f"{place} is a {role} turn, and calls a tool")
    for key in ("name", "tool_call_id"):
        check_identifier(turn.get(key), f"{place}.{key}")
    return Message(
        role,
        "" if calls and not content else read_content(content, f"{place}.{text_key}", role),
        calls,
        turn.get("tool_call_id") or "",
        turn.get("name") or "",
        is_trained=_read_weight(turn.get("weight"), place, role),
    )


def read_role(value: Any, roles: Mapping[str, str], names: Mapping[str, str]) -> str:
    """Return what a role's name means.

    Raises:
        InvalidRowError: It is not known.
    """
    if isinstance(value, str) and (role := roles.get(value) or names.get(value)):
        return role
    hint = "; map it with data.roles" if isinstance(value, str) else ""
    detail = f"role {show_value(value)} is not one of {', '.join(ROLES)}{hint}"
    raise InvalidRowError("unknown_role", detail)


def read_content(value: Any, place: str, role: str) -> str:
    """Return the text of a turn, which may come in parts; system and tool turns may be empty.

    Raises:
        InvalidRowError: It is no text, or empty.
    """
    if isinstance(value, list):
        value = "".join([_read_part(part, f"{place}[{i}]") for i, part in enumerate(value)])
    return read_text(value, place, allow_empty=role in {"system", "tool"})


def read_text(value: Any, place: str, *, allow_empty: bool = False) -> str:
    """Return a text as it is.

    Raises:
        InvalidRowError: It is no text, empty, or holds what no text holds.
    """
    if not isinstance(value, str):
        raise InvalidRowError("not_text", f"{place} is not a text; found {show_value(value)}")
    if BREAK in value:
        detail = f"{place} holds U+{ord(BREAK):04X}, which is no character"
        raise InvalidRowError("noncharacter", detail)
    if "\0" in value:
        raise InvalidRowError("noncharacter", f"{place} holds the control character NUL")
    if not allow_empty and (not value or value.isspace()):
        raise InvalidRowError("empty_text", f"{place} is empty")
    return value


def list_mapped_roles(values: list[Any], roles: Mapping[str, str]) -> tuple[str, ...]:
    """Return the role of each turn that `data.roles` maps, in the turns of a row's lists."""
    lists = (value if isinstance(value, list) else [value] for value in values)
    # Among the lists are tools and pairs of a history too.
    turns = (turn for value in lists for turn in value if isinstance(turn, dict))
    names = (turn.get("role", turn.get("from")) for turn in turns)
    return tuple(name for name in names if isinstance(name, str) and name in roles)


def _read_plain_turn(turn: Any) -> Message | None:
    """Return the message of a turn with nothing but a role and a text, and None for any other.

    Nearly all turns are such: a million rows have some, so they take no longer way than this.
    """
    if not isinstance(turn, dict) or turn.keys() != PLAIN_KEYS:
        return None
    role, content = turn["role"], turn["content"]
    if role not in ROLES or not isinstance(content, str) or not content or content.isspace():
        return None
    return None if BREAK in content or "\0" in content else Message(role, content)


def _read_turn_calls(turn: dict[str, Any], place: str) -> tuple[ToolCall, ...]:
    if turn.get("tool_calls"):
        return read_calls(turn["tool_calls"], f"{place}.tool_calls")
    if turn.get("function_call"):
        return (read_call(turn["function_call"], f"{place}.function_call"),)
    return ()


def _read_weight(weight: Any, place: str, role: str) -> bool:
    if weight is None or (role != "assistant" and weight == 0):
        return True
    if role != "assistant":
        detail = f"{place} is a {role} turn; only assistant turns can have a weight"
        raise InvalidRowError("broken_weight", detail)
    if not isinstance(weight, int | float) or weight not in {0, 1}:
        detail = f"{place}.weight is {show_value(weight)}; allowed: 0 and 1"
        raise InvalidRowError("broken_weight", detail)
    return bool(weight)


def _check_keys(turn: dict[str, Any], place: str) -> None:
    for key in sorted(turn.keys() - READ_KEYS - PASSED_OVER_KEYS):
        if turn[key] not in (None, "", [], {}):
            detail = f'hone does not read the key "{key}" of {place}; take it out if it can go'
            raise InvalidRowError("unread_key", detail)


def _read_part(part: Any, place: str) -> str:
    kind = part.get("type", "text") if isinstance(part, dict) else "text"
    if not isinstance(kind, str) or kind not in TEXT_PARTS:
        detail = f"{place} is of the type {show_value(kind)}; hone reads parts of the type text"
        raise InvalidRowError("unread_part", detail)
    text = part.get("text") if isinstance(part, dict) else part
    if not isinstance(text, str):
        raise InvalidRowError("not_text", f"{place} is not a text; found {show_value(text)}")
    return text
