"""Rows in JSON, one a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from tasks.formatting.files import streams

# What the error handler surrogateescape makes of bytes that are not UTF-8.
UNDECODED_OFFSET = 0xDC00
UNDECODED_BYTES = range(UNDECODED_OFFSET + 0x80, UNDECODED_OFFSET + 0x100)
# From here on orjson may have rounded a whole number to a float.
SAFE_FLOAT = 2.0**63
# Deeper rows would exhaust the stack of what reads them later; orjson writes 254 levels.
MAX_DEPTH = 250


@dataclass(frozen=True)
class ReadProblem:
    """Why something that stands where a row should be is not one."""

    reason: str
    detail: str


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def read_json_lines(
    lines: Iterable[bytes], first_line: int = 1
) -> Iterator[tuple[int, dict[str, Any] | ReadProblem]]:
    """Yield the object of each line that is not blank, with the line's number.

    Args:
        lines: Lines in UTF-8, such as `streams.split_lines` cuts; it bounds their length.
        first_line: The number of the first of them, where they are a part of a file.
    """
    for number, raw in enumerate(lines, start=first_line):
        if not raw.isspace():
            yield number, parse_json_line(raw)


def parse_json_line(raw: bytes) -> dict[str, Any] | ReadProblem:
    """Return the object that a line holds, or why it holds none."""
    try:
        row = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _parse_slowly(raw)
    # orjson rounds whole numbers above 64 bits; the json module keeps them.
    try:
        if type(row) is dict and not _may_be_rounded(row):
            return row
    except RecursionError as err:
        return describe_error(err)
    return _parse_slowly(raw)


def check_text(row: Any) -> dict[str, Any] | ReadProblem:
    """Return the row, or the problem that it is no object or holds what UTF-8 cannot say."""
    if not isinstance(row, dict):
        return ReadProblem("not_an_object", f"a row is a JSON object; found {_name_type(row)}")
    try:
        orjson.dumps(row)
    except TypeError:  # or a whole number above 64 bits, which is one
        return _check_slowly(row)
    return row


def _check_slowly(row: dict[str, Any]) -> dict[str, Any] | ReadProblem:
    if _is_too_deep(row):
        return describe_error(RecursionError())
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as err:
        code = ord(err.object[err.start])
        is_byte = code in UNDECODED_BYTES
        found = _describe_byte(code - UNDECODED_OFFSET) if is_byte else f"U+{code:04X}"
        return _refuse_encoding(found.removesuffix(","))
    return row


def _is_too_deep(row: dict[str, Any]) -> bool:
    level: list[Any] = [row]
    for _ in range(MAX_DEPTH):
        nested = [v.values() if isinstance(v, dict) else v for v in level]
        level = [v for values in nested for v in values if isinstance(v, dict | list)]
    return bool(level)


def describe_long_line() -> ReadProblem:
    """Return the problem of a line that is too long to be a row."""
    limit = f"{streams.MAX_LINE_BYTES >> 20} MiB"
    return ReadProblem("overlong_line", f"a line of more than {limit}; are there line ends?")


def _may_be_rounded(row: dict[str, Any]) -> bool:
    """Return whether a row holds a number that orjson may have rounded.

    Raises:
        RecursionError: It is nested too deeply.
    """
    level: list[Iterable[Any]] = [row.values()]
    is_rounded = False
    for _ in range(MAX_DEPTH):
        nested: list[Iterable[Any]] = []
        for values in level:
            for value in values:
                kind = type(value)
                if kind is str:
                    continue
                if kind is dict:
                    nested.append(value.values())
                elif kind is list:
                    nested.append(value)
                elif kind is float and not -SAFE_FLOAT < value < SAFE_FLOAT:
                    is_rounded = True
        if not nested:
            return is_rounded
        level = nested
    raise RecursionError


def _parse_slowly(raw: bytes) -> dict[str, Any] | ReadProblem:
    if len(raw) > streams.MAX_LINE_BYTES:
        return describe_long_line()
    try:
        # Files with byte-order marks that were put together have marks in the middle.
        text = raw.decode("utf-8").strip().removeprefix("\ufeff")
    except UnicodeDecodeError as err:
        found = f"{_describe_byte(raw[err.start])} at byte {err.start + 1} of the line"
        return _refuse_encoding(found)
    if "\0" in text:
        return ReadProblem("broken_json", f"broken JSON: a NUL (column {text.index(chr(0)) + 1})")
    try:
        row, end = DECODER.raw_decode(text)
    except (ValueError, RecursionError) as err:
        return describe_error(err)
    if end != len(text):
        found = "a comma after the value" if text[end:].strip() == "," else "more than one value"
        return ReadProblem("broken_json", f"broken JSON: {found} (column {end + 1})")
    return check_text(row)


def _refuse_encoding(found: str) -> ReadProblem:
    return ReadProblem(
        "broken_encoding", f"the text is not valid UTF-8 (found {found}); {streams.SAVE_AS_UTF_8}"
    )


def _describe_byte(byte: int) -> str:
    """Name a byte, and what it is in the encoding that most programs for Windows write."""
    sign = bytes([byte]).decode("cp1252", "ignore")
    return f'byte 0x{byte:02X}, in Windows-1252 "{sign}",' if sign else f"byte 0x{byte:02X}"


def describe_error(err: Exception, place: str = "") -> ReadProblem:
    """Return the problem that a decoder found; `place` says where, for an error that says it."""
    if isinstance(err, json.JSONDecodeError):
        place = place or f"column {err.colno}"
        return ReadProblem("broken_json", f"broken JSON: {err.msg} ({place})")
    if isinstance(err, RecursionError):
        return ReadProblem("broken_json", "broken JSON: nested too deeply")
    return ReadProblem("broken_json", f"broken JSON: {err}")


def _name_type(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
