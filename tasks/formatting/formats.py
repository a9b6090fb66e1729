"""The formats of rows: told apart by their keys, checked, and turned into messages or text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from configs.errors import RequestError
from configs.schema import FormatName
from tasks.formatting.encoding import BREAK
from tasks.formatting.examples import ROLES, Message
from tasks.formatting.readers import Row

# Keys by which a row's format is told, the first match counts; each inner tuple must be there.
FORMAT_KEYS: dict[FormatName, tuple[tuple[str, ...], ...]] = {
    "messages": (("messages",),),
    "prompt-completion": (("prompt", "completion"),),
    "alpaca": (("instruction", "output"), ("instruction", "response")),
    "text": (("text",), ("content",)),
}
# Keys that change what is trained on; hone would give a wrong model if it passed over them.
UNREAD_KEYS = ("tools", "functions", "history")
UNREAD_MESSAGE_KEYS = ("weight", "tool_calls", "function_call")
MAX_SHOWN_CHARS = 40


@dataclass(frozen=True)
class Conversation:
    """What a row says, and which of its keys said it."""

    messages: tuple[Message, ...]
    text: str
    keys: tuple[str, ...]
    mapped_roles: tuple[str, ...] = ()
    """The foreign role names that were mapped, once for each turn."""


@dataclass(frozen=True)
class Rejection:
    """Why a row is invalid: a name to count by, and what was found, in words."""

    reason: str
    detail: str


def detect_format(row: Mapping[str, Any]) -> FormatName | None:
    """Return the format that a row's keys speak for, or None.

    >>> detect_format({"instruction": "Add.", "context": "1 2", "response": "3"})
    'alpaca'
    """
    for name, alternatives in FORMAT_KEYS.items():
        if any(all(key in row for key in keys) for keys in alternatives):
            return name
    return None


def check_roles(roles: Mapping[str, str]) -> None:
    """Check that `data.roles` maps foreign names to known roles.

    Raises:
        RequestError: A target is not a role, or a known role is given another meaning.
    """
    for name, role in roles.items():
        if role not in ROLES:
            raise RequestError(
                where=f"data.roles.{name}", message=f'"{role}" is no role', allowed=", ".join(ROLES)
            )
        if name in ROLES and name != role:
            raise RequestError(
                where=f"data.roles.{name}",
                message=f'"{name}" is a role itself and cannot mean "{role}"',
                allowed="names that are not " + ", ".join(ROLES),
            )


def parse_row(
    row: Row, name: FormatName, roles: Mapping[str, str], system_prompt: str | None
) -> Conversation | Rejection:
    """Return what a row says, or why it is invalid.

    Args:
        row: The row as read.
        name: The format of its file.
        roles: Foreign role names and what they mean (`data.roles`).
        system_prompt: The system turn of conversations that have none.
    """
    if found := detect_missing_keys(row, name):
        return Rejection("missing_key", found)
    if unread := [key for key in UNREAD_KEYS if row.get(key)]:
        return Rejection("unread_key", f'hone does not read the key "{unread[0]}" yet')
    try:
        if name == "text":
            return _parse_text(row)
        messages, keys = PARSERS[name](row, roles)
        _check_turns(messages)
    except _Invalid as err:
        return err.rejection
    if system_prompt and messages[0].role != "system":
        messages = (Message("system", system_prompt), *messages)
    return Conversation(messages, "", keys, _list_mapped_roles(row, keys, roles))


def detect_missing_keys(row: Row, name: FormatName) -> str:
    """Return what a row lacks for a format, in words; empty when it has all."""
    alternatives = FORMAT_KEYS[name]
    if any(all(key in row for key in keys) for keys in alternatives):
        return ""
    wanted = " or ".join(" + ".join(keys) for keys in alternatives)
    found = ", ".join(sorted(map(str, row))) or "none"
    return f"the format {name} has the keys {wanted}; found {found}"


class _Invalid(Exception):  # noqa: N818 # not an error: the way out of nested checks
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.rejection = Rejection(reason, detail)


def _parse_messages(row: Row, roles: Mapping[str, str]) -> tuple[tuple[Message, ...], tuple[str]]:
    return _read_turns(row["messages"], "messages", roles), ("messages",)


def _parse_prompt_completion(
    row: Row, roles: Mapping[str, str]
) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) or isinstance(completion, list):
        turns = _read_turns(prompt, "prompt", roles) + _read_turns(completion, "completion", roles)
    else:
        turns = (
            Message("user", _read_text(prompt, "prompt")),
            Message("assistant", _read_text(completion, "completion")),
        )
    return turns, ("prompt", "completion")


def _parse_alpaca(
    row: Row, roles: Mapping[str, str]
) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    del roles  # the format has no role names
    input_key = "input" if "input" in row else "context"
    output_key = "output" if "output" in row else "response"
    question = _read_text(row["instruction"], "instruction")
    if context := _read_text(row.get(input_key) or "", input_key, allow_empty=True):
        question += f"\n\n{context}"
    answer = Message("assistant", _read_text(row[output_key], output_key))
    turns: tuple[Message, ...] = (Message("user", question), answer)
    if system := _read_text(row.get("system") or "", "system", allow_empty=True):
        turns = (Message("system", system), *turns)
    return turns, ("instruction", input_key, output_key, "system")


def _parse_text(row: Row) -> Conversation:
    key = "text" if "text" in row else "content"
    return Conversation((), _read_text(row[key], key), (key,))


Parser = Callable[[Row, Mapping[str, str]], tuple[tuple[Message, ...], tuple[str, ...]]]
PARSERS: dict[str, Parser] = {
    "messages": _parse_messages,
    "prompt-completion": _parse_prompt_completion,
    "alpaca": _parse_alpaca,
}


def _read_turns(value: Any, key: str, roles: Mapping[str, str]) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise _Invalid("not_messages", f"{key} is not a list of messages; found {_show(value)}")
    return tuple(_read_turn(turn, f"{key}[{i}]", roles) for i, turn in enumerate(value))


def _read_turn(turn: Any, place: str, roles: Mapping[str, str]) -> Message:
    if not isinstance(turn, dict):
        raise _Invalid("not_messages", f"{place} is not a message; found {_show(turn)}")
    if unread := [key for key in UNREAD_MESSAGE_KEYS if turn.get(key) is not None]:
        raise _Invalid("unread_key", f'hone does not read the key "{unread[0]}" of {place} yet')
    if "role" not in turn:
        raise _Invalid("unknown_role", f"{place} has no role")
    role = turn["role"]
    known = roles.get(role, role) if isinstance(role, str) else role
    if known not in ROLES:
        hint = "; map it with data.roles" if isinstance(role, str) else ""
        detail = f"role {_show(role)} is not one of {', '.join(ROLES)}{hint}"
        raise _Invalid("unknown_role", detail)
    text = _read_text(
        turn.get("content"), f"{place}.content", allow_empty=known in {"system", "tool"}
    )
    return Message(known, text)


def _read_text(value: Any, place: str, *, allow_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise _Invalid("not_text", f"{place} is not a text; found {_show(value)}")
    if BREAK in value:
        raise _Invalid("noncharacter", f"{place} holds U+{ord(BREAK):04X}, which is no character")
    if "\0" in value:
        raise _Invalid("noncharacter", f"{place} holds the control character NUL")
    if not value.strip() and not allow_empty:
        raise _Invalid("empty_text", f"{place} is empty")
    return value


def _check_turns(messages: tuple[Message, ...]) -> None:
    spoken = [message.role for message in messages if message.role != "system"]
    if "assistant" not in spoken:
        raise _Invalid("no_assistant_turn", "there is no assistant turn: nothing to learn from")
    if messages[0].role == "assistant":
        raise _Invalid(
            "no_prompt", "the conversation begins with the assistant: there is no prompt"
        )
    if messages[-1].role != "assistant":
        found = f"the conversation ends with a {messages[-1].role} turn, which nobody answers"
        raise _Invalid("no_last_answer", found)


def _list_mapped_roles(
    row: Row, keys: tuple[str, ...], roles: Mapping[str, str]
) -> tuple[str, ...]:
    lists = [row[key] for key in keys if isinstance(row.get(key), list)]
    return tuple(turn["role"] for turns in lists for turn in turns if turn["role"] in roles)


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=lambda other: type(other).__name__)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 3]}..."
