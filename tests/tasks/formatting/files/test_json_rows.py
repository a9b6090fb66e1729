from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.formatting.files.json_rows import (
    DECODER,
    MAX_DEPTH,
    ReadProblem,
    check_text,
    describe_error,
    parse_json_line,
    read_json_lines,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(*lines: bytes, first_line: int = 1) -> list[tuple[int, Any]]:
    return list(read_json_lines(lines, first_line))


@given(row=st.dictionaries(st.text(), VALUES, max_size=4), is_ascii=st.booleans())
@settings(deadline=None)
def test_a_row_is_what_the_json_module_reads(row: dict[str, Any], is_ascii: bool) -> None:
    line = json.dumps(row, ensure_ascii=is_ascii, allow_nan=False)
    found = read(line.encode("utf-8", "surrogatepass"))[0][1]
    expected = check_text(DECODER.decode(line))
    assert type(found) is type(expected)
    assert found == expected or isinstance(found, ReadProblem)


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**64), 12345678901234567890123, 2**53 + 1])
def test_whole_numbers_are_never_rounded(number: int) -> None:
    line = json.dumps({"n": number, "deep": [{"n": number}]}).encode()
    assert read(line) == [(1, {"n": number, "deep": [{"n": number}]})]


def test_lines_are_numbered_from_where_they_stand_and_blank_ones_are_none() -> None:
    rows = read(b'{"a": 1}\r\n', b"\r\n", b" \t\n", b'\xef\xbb\xbf{"b": 2}', first_line=7)
    assert rows == [(7, {"a": 1}), (10, {"b": 2})]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"a": "\xe9"}', 'byte 0xE9, in Windows-1252 "é", at byte 8 of the line); save the file'),
        (b'{"a": "\x81"}', "found byte 0x81 at byte 8"),
        (b'{"a": "\\udc80"}', "found byte 0x80"),
        (b'{"a": "\\ud83d"}', "found U+D83D"),
        (b'{"a": 1\0}', "broken JSON: a NUL (column 8)"),
        (b'{"a": Infinity}', "Infinity is not JSON"),
        (b'{"a": 1} {"a": 2}', "more than one value (column 9)"),
        (b'{"a": 1},', "a comma after the value (column 9)"),
        (b'{"a" 1}', "column 6"),
    ],
)
def test_what_is_wrong_is_said(line: bytes, words: str) -> None:
    (_, problem), (_, after) = read(line, b'{"a": 1}')
    assert isinstance(problem, ReadProblem)
    assert words in problem.detail
    assert after == {"a": 1}


@pytest.mark.parametrize("start", [b'{"a": ', b'{"n": 1e99, "a": '])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 10, 990, 1010, 100_000])
def test_rows_are_refused_before_they_exhaust_the_stack(start: bytes, depth: int) -> None:
    (_, problem), (_, after) = read(
        start + b"[" * depth + b"]" * depth + b"}",
        start + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}",
    )
    assert problem == ReadProblem("broken_json", "broken JSON: nested too deeply")
    assert "a" in after


def test_a_rounded_number_does_not_hide_that_a_row_is_too_deep() -> None:
    nested = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    for raw in (b'{"n":1e30,"a":%b}' % nested, b'{"a":%b,"n":1e30}' % nested):
        assert parse_json_line(raw) == describe_error(RecursionError())
