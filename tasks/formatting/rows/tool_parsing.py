"""Tools and tool calls of a row: checked, and turned into JSON texts of one shape."""

from __future__ import annotations

import functools
import json
from typing import Any, NoReturn

from tasks.formatting.rendering.encoding import BREAK
from tasks.formatting.rows.conversations import InvalidRowError
from tasks.formatting.rows.examples import Message, ToolCall

MAX_SHOWN_CHARS = 40


def read_tools(value: Any, place: str) -> str:
    """Return the tools of a row as the JSON list of OpenAI's shape, which templates read.

    Args:
        value: A list of tools, or a text with such a list in JSON; a tool is
            `{"type": "function", "function": {"name": ...}}`, or the inner object alone.
        place: The key, for errors.

    Returns:
        The list as JSON, keys in their order; empty when there is no tool.

    Raises:
        InvalidRowError: A tool is something else.
    """
    if isinstance(value, str):
        return _read_tools_text(value, place) if value.strip() else ""
    if value is None or value == []:
        return ""
    if not isinstance(value, list):
        raise InvalidRowError("broken_tools", f"{place} is not a list; found {show_value(value)}")
    return write_json_text([_read_tool(tool, f"{place}[{i}]") for i, tool in enumerate(value)])


def read_calls(value: Any, place: str) -> tuple[ToolCall, ...]:
    """Return the calls under `tool_calls`, of OpenAI's shape or flat; the arguments as JSON.

    Raises:
        InvalidRowError: A call has no name, or arguments that are no JSON object.
    """
    if not isinstance(value, list):
        _refuse_call(f"{place} is not a list; found {show_value(value)}")
    return tuple(read_call(call, f"{place}[{i}]") for i, call in enumerate(value))


def read_call(call: Any, place: str) -> ToolCall:
    """Return one call: `{"function": {"name": ..., "arguments": ...}}`, or the inner object alone.

    Raises:
        InvalidRowError: It has no name, or arguments that are no JSON object.
    """
    if not isinstance(call, dict):
        _refuse_call(f"{place} is not a tool call; found {show_value(call)}")
    if call.get("type") not in (None, "function"):
        _refuse_call(f"{place} is of the type {show_value(call['type'])}; hone reads functions")
    function = call.get("function", call)
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name.strip():
        _refuse_call(f"{place} has no name")
    arguments = function.get("arguments", function.get("parameters"))
    check_identifier(call.get("id"), f"{place}.id")
    check_identifier(name, f"{place}.name")
    return ToolCall(name, _read_arguments(arguments, f"{place}.arguments"), call.get("id") or "")


def read_call_text(text: Any, place: str) -> tuple[ToolCall, ...]:
    """Return the calls of a turn whose whole text is one call, or a list of calls, in JSON.

    Raises:
        InvalidRowError: It is something else.
    """
    value = _load_json(text, place, "broken_tool_call") if isinstance(text, str) else text
    calls = read_calls(value if isinstance(value, list) else [value], place)
    if not calls:
        _refuse_call(f"{place} holds no call")
    return calls


def check_call_ids(messages: tuple[Message, ...]) -> None:
    """Check that each tool turn that names a call names an earlier one.

    Raises:
        InvalidRowError: It names another, though the earlier calls have ids.
    """
    known: set[str] = set()
    for number, message in enumerate(messages):
        known.update(call.id for call in message.tool_calls if call.id)
        if message.tool_call_id and known and message.tool_call_id not in known:
            found = show_value(message.tool_call_id)
            raise InvalidRowError(
                "unknown_tool_call", f"turn {number} answers the tool call {found}, which is none"
            )


def check_identifier(value: Any, place: str) -> None:
    """Check that a name or an id is a text, if there is one.

    Raises:
        InvalidRowError: It is something else, or holds what no template may get.
    """
    if value is None:
        return
    if not isinstance(value, str) or BREAK in value or "\0" in value:
        raise InvalidRowError("not_text", f"{place} is not a text; found {show_value(value)}")


def write_json_text(value: Any) -> str:
    """Return a JSON value as chat templates write it: keys in their order, nothing escaped.

    Raises:
        InvalidRowError: It holds what JSON, UTF-8 or a chat template cannot say.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
    except UnicodeEncodeError as err:
        detail = f"a tool or its arguments hold U+{ord(err.object[err.start]):04X}, no character"
        raise InvalidRowError("broken_encoding", detail) from err
    except (ValueError, TypeError, RecursionError) as err:
        raise InvalidRowError("broken_tools", f"no JSON: {err}") from err
    if BREAK in text:
        detail = f"a tool or its arguments hold U+{ord(BREAK):04X}, which is no character"
        raise InvalidRowError("noncharacter", detail)
    return text


def show_value(value: Any) -> str:
    """Return a value as JSON for an error, at most 40 characters of it."""
    text = json.dumps(value, ensure_ascii=False, default=lambda other: type(other).__name__)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 3]}..."


@functools.lru_cache(maxsize=64)  # the same few tools stand in row after row
def _read_tools_text(text: str, place: str) -> str:
    value = _load_json(text, place, "broken_tools")
    return read_tools(value if isinstance(value, list) else [value], place)


def _read_tool(tool: Any, place: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise InvalidRowError("broken_tools", f"{place} is no tool; found {show_value(tool)}")
    if tool.get("type") not in (None, "function"):
        found = show_value(tool["type"])
        raise InvalidRowError("broken_tools", f"{place} is of the type {found}; allowed: function")
    is_wrapped = isinstance(tool.get("function"), dict)
    function = tool["function"] if is_wrapped else {k: v for k, v in tool.items() if k != "type"}
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise InvalidRowError("broken_tools", f"{place} has no name")
    return tool if is_wrapped else {"type": "function", "function": function}


def _read_arguments(value: Any, place: str) -> str:
    if isinstance(value, str):
        value = _load_json(value, place, "broken_tool_call") if value.strip() else {}
    if value is None:
        value = {}
    if not isinstance(value, dict):
        _refuse_call(f"{place} is no JSON object; found {show_value(value)}")
    return write_json_text(value)


def _load_json(text: str, place: str, reason: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as err:
        raise InvalidRowError(reason, f"{place} is no JSON ({err})") from err
    if "\\u" in text:  # an escape can bring what UTF-8 cannot say
        write_json_text(value)
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _refuse_call(detail: str) -> NoReturn:
    raise InvalidRowError("broken_tool_call", detail)
