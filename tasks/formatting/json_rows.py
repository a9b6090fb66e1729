"""Rows in JSON: one a line, an array, or objects over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from configs.errors import RequestError

OBJECT_AT_LINE_START = re.compile(r"^\{", re.MULTILINE)
# What the error handler surrogateescape makes of bytes that are not UTF-8.
UNDECODED_OFFSET = 0xDC00
UNDECODED_BYTES = range(UNDECODED_OFFSET + 0x80, UNDECODED_OFFSET + 0x100)
WHITESPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class ReadProblem:
    """Why something that stands where a row should be is not one."""

    reason: str
    detail: str


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def read_json_lines(content: IO[bytes]) -> Iterator[tuple[int, dict[str, Any] | ReadProblem]]:
    """Yield the object of each line that is not blank, with the line's number from 1."""
    for number, raw in enumerate(content, start=1):
        if raw.strip():
            yield number, _parse_line(raw)


def read_json_document(
    content: bytes, name: str
) -> Iterator[tuple[int, dict[str, Any] | ReadProblem]]:
    """Yield the objects of an array, or objects one after the other, however they are wrapped.

    After a broken object in a series, reading goes on at the next line that begins with `{`.

    Args:
        content: The whole file.
        name: The file's name, for errors.

    Yields:
        The line an object begins on, from 1, and the object.

    Raises:
        RequestError: An array is broken: where its next row begins cannot be known.
    """
    text = content.decode("utf-8", "surrogateescape")
    start = _skip_space(text, 0)
    is_array = text.startswith("[", start)
    objects = _read_array(text, start + 1, name) if is_array else _read_series(text, start)
    line, counted = 1, 0
    for position, row in objects:
        line, counted = line + text.count("\n", counted, position), position
        yield line, row


def check_text(row: Any) -> dict[str, Any] | ReadProblem:
    """Return the row, or the problem that it is no object or holds what UTF-8 cannot say."""
    if not isinstance(row, dict):
        return ReadProblem("not_an_object", f"a row is a JSON object; found {_name_type(row)}")
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as err:
        code = ord(err.object[err.start])
        is_byte = code in UNDECODED_BYTES
        found = f"byte 0x{code - UNDECODED_OFFSET:02X}" if is_byte else f"U+{code:04X}"
        return ReadProblem("broken_encoding", f"the text is not valid UTF-8 (found {found})")
    return row


def _parse_line(raw: bytes) -> dict[str, Any] | ReadProblem:
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError as err:
        return ReadProblem("broken_encoding", f"not UTF-8 at byte {err.start + 1} of the line")
    try:
        row, end = DECODER.raw_decode(text)
    except (ValueError, RecursionError) as err:
        return _describe_error(err)
    if end != len(text):
        return ReadProblem("broken_json", f"broken JSON: more than one value (column {end + 1})")
    # Only an escape can bring a lone surrogate into a line that was decoded strictly.
    return check_text(row) if "\\u" in text or not isinstance(row, dict) else row


def _read_series(text: str, position: int) -> Iterator[tuple[int, dict[str, Any] | ReadProblem]]:
    while position < len(text):
        try:
            row, end = DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as err:
            yield position, _describe_error(err)
            following = OBJECT_AT_LINE_START.search(text, position + 1)
            end = following.start() if following else len(text)
        else:
            yield position, check_text(row)
        position = _skip_space(text, end)


def _read_array(
    text: str, position: int, name: str
) -> Iterator[tuple[int, dict[str, Any] | ReadProblem]]:
    position = _skip_space(text, position)
    while not text.startswith("]", position):
        try:
            row, end = DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as err:
            raise _refuse_array(text, position, name, _describe_error(err).detail) from err
        yield position, check_text(row)
        position = _skip_space(text, end)
        if text.startswith(",", position):
            position = _skip_space(text, position + 1)
        elif not text.startswith("]", position):
            raise _refuse_array(text, position, name, "broken JSON: expected `,` or `]`")
    if _skip_space(text, position + 1) != len(text):
        raise _refuse_array(text, position, name, "more text after the array")


def _refuse_array(text: str, position: int, name: str, detail: str) -> RequestError:
    return RequestError(
        where=f"{name}:{text.count(chr(10), 0, position) + 1}",
        message=f"{detail}; in a JSON array the rows after it cannot be told apart",
        hint="mend it, or write one object a line (JSONL), where a broken row stays alone",
    )


def _describe_error(err: Exception) -> ReadProblem:
    if isinstance(err, json.JSONDecodeError):
        place = (
            f"line {err.lineno}, column {err.colno}" if "\n" in err.doc else f"column {err.colno}"
        )
        return ReadProblem("broken_json", f"broken JSON: {err.msg} ({place})")
    if isinstance(err, RecursionError):
        return ReadProblem("broken_json", "broken JSON: nested too deeply")
    return ReadProblem("broken_json", f"broken JSON: {err}")


def _skip_space(text: str, position: int) -> int:
    found = WHITESPACE.match(text, position)
    assert found  # the pattern matches the empty string
    return found.end()


def _name_type(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
