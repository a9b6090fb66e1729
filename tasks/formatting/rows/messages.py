"""The turns of a conversation, and how they are stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.formatting.rows.frozen_records import frozen_record

ROLES = ("system", "user", "assistant", "tool")
PLAIN_KEYS = frozenset({"role", "content"})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool by the assistant."""

    name: str
    arguments: str
    """A JSON object, its keys in the row's order: they are what the model learns to write."""
    id: str = ""


@frozen_record
class Message:
    """One turn of a conversation."""

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    """What an assistant turn calls, after or in place of its text."""
    tool_call_id: str = ""
    """The call that a tool turn answers."""
    name: str = ""
    """The tool of a tool turn, or a speaker's name."""
    is_trained: bool = True
    """Whether an assistant turn is trained on; false where the data gives it the weight 0."""

    @property
    def readable(self) -> str:
        """The text, then a line of JSON for each tool call: `{"name": ..., "arguments": ...}`."""
        if not self.tool_calls:
            return self.content
        calls = [
            f'{{"name": {json.dumps(c.name, ensure_ascii=False)}, "arguments": {c.arguments}}}'
            for c in self.tool_calls
        ]
        return "\n".join([self.content, *calls] if self.content else calls)


def find_answer(messages: Sequence[Message]) -> int:
    """Return the place of the last assistant turn that is trained on; the last turn without one."""
    for place in range(len(messages) - 1, -1, -1):
        if messages[place].role == "assistant" and messages[place].is_trained:
            return place
    return len(messages) - 1


def is_plain(message: Message) -> bool:
    """Return whether a turn is nothing but a role and a text, as nearly all are."""
    return message.is_trained and not (message.tool_calls or message.tool_call_id or message.name)


def message_to_dict(message: Message) -> dict[str, Any]:
    """Return a turn as a JSON object; what a plain turn does not have is left out.

    >>> message_to_dict(Message("user", "Why?"))
    {'role': 'user', 'content': 'Why?'}
    """
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if is_plain(message):
        return row
    if message.tool_calls:
        row["tool_calls"] = [
            {"name": call.name, "arguments": call.arguments} | ({"id": call.id} if call.id else {})
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        row["tool_call_id"] = message.tool_call_id
    if message.name:
        row["name"] = message.name
    if not message.is_trained:
        row["is_trained"] = False
    return row


def message_from_dict(row: dict[str, Any]) -> Message:
    """Return the turn that `message_to_dict` wrote."""
    if calls := row.get("tool_calls"):
        row = {**row, "tool_calls": tuple(ToolCall(**call) for call in calls)}
    return Message(**row)
