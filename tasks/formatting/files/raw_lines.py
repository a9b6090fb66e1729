"""Rows beside the bytes that they were read from, for files that are copied row by row."""

from __future__ import annotations

import json
from collections.abc import Iterator

import orjson

from tasks.formatting.files.json_rows import ReadProblem
from tasks.formatting.files.readers import Row, SourceFile, holds_json_lines, read_rows
from tasks.formatting.files.streams import open_text, split_lines


def read_raw_rows(file: SourceFile) -> Iterator[tuple[int, Row | ReadProblem, bytes]]:
    """Yield each row of a file with its line and the line's bytes, its line end included.

    A row of a file that is not JSON lines has no line of its own: it is written as one.

    Raises:
        RequestError: The file is missing, empty, damaged, or its rows cannot be told apart.
    """
    if not holds_json_lines(file):
        for number, row in read_rows(file):
            yield number, row, b"" if isinstance(row, ReadProblem) else dump_line(row)
        return
    with open_text(file.path, file.name) as content:
        lines = enumerate(split_lines(content), start=1)
        for number, row in read_rows(file):
            raw = next(line for counted, line in lines if counted == number)
            yield number, row, raw if raw.endswith(b"\n") else raw + b"\n"


def dump_line(row: Row) -> bytes:
    r"""Return a row as one line of JSON; dates become text, and what is no number null.

    >>> dump_line({"text": "naïve"}).decode()
    '{"text":"naïve"}\n'
    """
    try:
        return orjson.dumps(row, default=str) + b"\n"
    except orjson.JSONEncodeError:  # a whole number of more than 64 bits
        return json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"
