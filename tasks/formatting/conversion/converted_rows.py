"""What a row becomes when it is converted: messages or text, and what is left out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from configs.schema import DataConfig
from tasks.formatting.conversion.chatgpt_export import (
    LeftOut,
    convert_conversation,
    find_id,
    is_chatgpt_conversation,
)
from tasks.formatting.files.json_rows import ReadProblem
from tasks.formatting.files.readers import Row, SourceFile, holds_json_lines, read_rows
from tasks.formatting.rows.columns import rename_columns
from tasks.formatting.rows.examples import Message
from tasks.formatting.rows.formats import (
    Conversation,
    Rejection,
    detect_format,
    detect_missing_keys,
    parse_row,
)

# Formats that say more than one conversation: their rows are copied.
COPIED_FORMATS = ("preference", "kto")


def is_converted(file: SourceFile) -> bool:
    """Return whether a file is JSONL of one format that says messages or texts as they are."""
    if not holds_json_lines(file):
        return False
    formats = set()
    for _, row in read_rows(file):
        name = None if isinstance(row, ReadProblem) else detect_format(row)
        if isinstance(row, ReadProblem) or name not in ("messages", "text", *COPIED_FORMATS):
            return False
        if isinstance(parse_row(row, name, {}, None), Rejection):
            return False
        formats.add(name)
    return len(formats) == 1


def convert_row(
    row: Row, where: str, data: DataConfig, *, all_branches: bool
) -> Iterator[Row | LeftOut]:
    """Yield what a row becomes: rows of messages, or of text, and what is left out.

    Args:
        row: A row in any format that hone reads, or a conversation of a ChatGPT export.
        where: Its file and line.
        data: How rows are understood: format, columns, roles.
        all_branches: Whether each branch of a ChatGPT conversation becomes a row.
    """
    if is_chatgpt_conversation(row):
        place = f"{where}, conversation {find_id(row)}" if find_id(row) else where
        yield from convert_conversation(row, place, all_branches=all_branches)
        return
    renamed = rename_columns(row, data.columns)
    if isinstance(renamed, Rejection):
        yield LeftOut(where, renamed.reason, renamed.detail)
        return
    row = renamed
    name = data.format or detect_format(row)
    if name is None:
        yield LeftOut(where, "unknown_format", detect_missing_keys(row, "messages"))
        return
    parsed = parse_row(row, name, data.roles, None)
    if isinstance(parsed, Rejection):
        yield LeftOut(where, parsed.reason, parsed.detail)
    elif name in COPIED_FORMATS:
        yield row
    else:
        yield _make_row(row, parsed)


def message_to_row(message: Message) -> dict[str, Any]:
    """Return a turn as `messages` rows hold it, in the manner of OpenAI's fine-tuning files.

    >>> message_to_row(Message("user", "Why?"))
    {'role': 'user', 'content': 'Why?'}
    """
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        row["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            | ({"id": call.id} if call.id else {})
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        row["tool_call_id"] = message.tool_call_id
    if message.name:
        row["name"] = message.name
    if not message.is_trained:
        row["weight"] = 0
    return row


def _make_row(row: Row, parsed: Conversation) -> Row:
    others = {key: value for key, value in row.items() if key not in parsed.keys}
    if not parsed.messages:
        return {"text": parsed.text, **others}
    tools = {"tools": json.loads(parsed.tools)} if parsed.tools else {}
    return {"messages": [message_to_row(m) for m in parsed.messages], **tools, **others}
