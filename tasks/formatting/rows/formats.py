"""The formats of rows: told apart by their keys, and turned into conversations or texts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from configs.errors import RequestError
from configs.schema import FormatName
from tasks.formatting.files.readers import Row
from tasks.formatting.rows.answers import OPENAI_KEYS
from tasks.formatting.rows.conversations import Conversation, InvalidRowError, Rejection
from tasks.formatting.rows.examples import ROLES, Message, find_answer
from tasks.formatting.rows.message_parsing import list_mapped_roles, read_text
from tasks.formatting.rows.row_parsers import PARSERS
from tasks.formatting.rows.tool_parsing import check_call_ids, read_tools

__all__ = [
    "FORMAT_KEYS", "Conversation", "Rejection", "check_roles", "detect_format",
    "detect_missing_keys", "filter_conversation", "parse_row",
]  # fmt: skip

# Keys by which a row's format is told, the first match counts; one of the inner sets must be there.
FORMAT_KEYS: dict[FormatName, tuple[tuple[str, ...], ...]] = {
    "preference": (("chosen", "rejected"), OPENAI_KEYS),
    "kto": (
        ("prompt", "completion", "label"), ("messages", "label"), ("conversations", "label"),
    ),
    "messages": (("messages",),),
    "sharegpt": (("conversations",),),
    "prompt-completion": (("prompt", "completion"),),
    "alpaca": (("instruction", "output"), ("instruction", "response")),
    "text": (("text",), ("content",)),
}  # fmt: skip
KEY_SETS = {name: tuple(map(frozenset, keys)) for name, keys in FORMAT_KEYS.items()}
# Keys beside those of the format that say something about the conversation.
TOOL_KEYS = ("tools", "functions")
SHARED_KEYS = frozenset({*TOOL_KEYS, "system", "parallel_tool_calls"})
# Keys that change what a conversation means; hone would give a wrong model if it passed over them.
UNREAD_KEYS = frozenset({"images", "image", "videos", "video", "audios", "audio", "documents"})


def detect_format(row: Mapping[str, Any]) -> FormatName | None:
    """Return the format that a row's keys speak for, or None.

    A label makes a row `kto` only when it is true or false and stands beside prompt and
    completion; many data sets have a label of another kind.

    >>> detect_format({"instruction": "Add.", "context": "1 2", "response": "3"})
    'alpaca'
    >>> detect_format({"prompt": "Why?", "completion": "So.", "label": "physics"})
    'prompt-completion'
    """
    return _find_format(tuple(row), isinstance(row.get("label"), bool))


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
    if missing := detect_missing_keys(row, name):
        return Rejection("missing_key", missing)
    if not UNREAD_KEYS.isdisjoint(row) and name != "text":
        for key in sorted(UNREAD_KEYS & row.keys()):
            if row[key]:
                return Rejection("unread_key", f'hone does not read the key "{key}"')
    try:
        parsed = PARSERS[name](row, roles)
        if name != "text":
            parsed = _add_shared(parsed, row, system_prompt)
            _check_turns(parsed.messages)
    except InvalidRowError as err:
        return err.rejection
    if roles and name != "text":
        lists = [row.get(key) for key in parsed.keys]
        return replace(parsed, mapped_roles=list_mapped_roles(lists, roles))
    return parsed


def filter_conversation(parsed: Conversation) -> Rejection | None:
    """Return why supervised training leaves a valid row out, or None.

    The row is `filtered`, not `invalid`, and stays in the ledger with its label.
    """
    if parsed.label is False:
        return Rejection("undesired", "label: false; supervised training takes desired answers")
    return None


def detect_missing_keys(row: Row, name: FormatName) -> str:
    """Return what a row lacks for a format, in words; empty when it has all."""
    for keys in KEY_SETS[name]:
        if row.keys() >= keys:
            return ""
    wanted = " or ".join(" + ".join(keys) for keys in FORMAT_KEYS[name])
    found = ", ".join(sorted(map(str, row))) or "none"
    return f"the format {name} has the keys {wanted}; found {found}"


@functools.lru_cache(maxsize=16)  # row after row has the same keys
def _find_format(keys: tuple[str, ...], has_verdict: bool) -> FormatName | None:
    for name, alternatives in KEY_SETS.items():
        if name == "kto":
            if has_verdict and alternatives[0].issubset(keys):
                return name
        elif any(wanted.issubset(keys) for wanted in alternatives):
            return name
    return None


def _add_shared(parsed: Conversation, row: Row, system_prompt: str | None) -> Conversation:
    """Add the system turn and the tools of a row's other keys, or of the configuration."""
    if not SHARED_KEYS.isdisjoint(row):
        system = read_text(row.get("system") or "", "system", allow_empty=True)
        first = parsed.messages[0]
        if system and (first.role, first.content) != ("system", system):
            parsed = _prepend_system(parsed, system)
        found = [read_tools(row.get(key), key) for key in TOOL_KEYS]
        if all(found):
            raise InvalidRowError("broken_tools", "the row has tools and functions; allowed: one")
        keys = (*parsed.keys, *sorted(SHARED_KEYS & row.keys()))
        parsed = replace(parsed, keys=keys, tools="".join(found))
    if system_prompt and all(turn.role != "system" for turn in parsed.messages):
        parsed = _prepend_system(parsed, system_prompt)
    return parsed


def _prepend_system(parsed: Conversation, text: str) -> Conversation:
    messages = (Message("system", text), *parsed.messages)
    shift = 1 if parsed.rejected else 0
    return replace(parsed, messages=messages, rejected_at=parsed.rejected_at + shift)


def _check_turns(messages: tuple[Message, ...]) -> None:
    spoken = [turn.role for turn in messages if turn.role != "system"]
    if "assistant" not in spoken:
        detail = "there is no assistant turn: nothing to learn from"
        raise InvalidRowError("no_assistant_turn", detail)
    if spoken[0] == "assistant" and (messages[0].role == "assistant" or len(spoken) == 1):
        detail = (
            "the conversation begins with the assistant: there is no prompt; "
            "put one before it, or take that turn out"
        )
        raise InvalidRowError("no_prompt", detail)
    if messages[-1].role != "assistant":
        found = f"the conversation ends with a {messages[-1].role} turn, which nobody answers"
        raise InvalidRowError("no_last_answer", found)
    if not messages[find_answer(messages)].is_trained:
        detail = "every assistant turn has the weight 0: nothing to learn from"
        raise InvalidRowError("nothing_trained", detail)
    if "tool" in spoken:
        check_call_ids(messages)
