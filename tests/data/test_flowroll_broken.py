"""The rows that are wrong on purpose are wrong as their catalogue says."""

import json
import re
from pathlib import Path
from typing import Any

import broken_rows

FLOWROLL = Path(__file__).parents[2] / "data" / "flowroll"


def describe_line(line: bytes, earlier: list[bytes]) -> str:
    """Judge a row without looking at the catalogue; the words are the catalogue's."""
    if not line:
        return "blank line"
    if line in earlier:
        return f"duplicate of line {earlier.index(line) + 1}"
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "not UTF-8"
    except json.JSONDecodeError:
        return "not JSON"
    return describe_row(row)


def describe_row(row: object) -> str:
    if not isinstance(row, dict):
        return "not an object"
    messages = row.get("messages")
    if isinstance(messages, str):
        return "messages is a string"
    return describe_messages(messages) if messages else "no messages"


def describe_messages(messages: list[Any]) -> str:
    for message in messages:
        if not isinstance(message, dict):
            return "a message is a string"
        if fault := describe_role(message) or describe_content(message):
            return fault
    roles = [message["role"] for message in messages]
    if roles[-1] != "assistant":
        return "no assistant turn at the end" if "assistant" in roles else "no assistant turn"
    return "none" if "user" in roles else "no user turn"


def describe_role(message: dict[str, Any]) -> str | None:
    if "role" not in message:
        return "no role"
    role = message["role"]
    return None if role in ("user", "assistant") else f"unknown role: {role}"


def describe_content(message: dict[str, Any]) -> str | None:
    if "content" not in message:
        return "no content"
    content = message["content"]
    if not isinstance(content, str):
        return "content is null" if content is None else "content is a number"
    if not content.strip():
        return "content is blank" if content else "content is empty"
    if "\0" in content:
        return "content holds NUL"
    has_half_pair = any("\ud800" <= character <= "\udfff" for character in content)
    return "content holds half a surrogate pair" if has_half_pair else None


def test_broken_rows_are_broken_as_the_catalogue_says() -> None:
    lines = (FLOWROLL / broken_rows.BROKEN_FILE).read_bytes().split(b"\n")[:-1]
    catalogue = (FLOWROLL / broken_rows.CATALOGUE_FILE).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", catalogue, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, len(lines) + 1))
    for index, (_, fault) in enumerate(rows):
        found = describe_line(lines[index], lines[:index])
        assert fault == found or fault.startswith(f"{found}: "), f"line {index + 1}"
