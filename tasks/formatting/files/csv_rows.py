"""Rows in CSV, as programs and spreadsheets write it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import IO, Any

from configs.errors import RequestError
from tasks.formatting.files import streams
from tasks.formatting.files.json_rows import ReadProblem, check_text, describe_long_line

DELIMITERS = ",;\t"
# Excel's own hint, a first line such as `sep=;`.
DELIMITER_LINE = re.compile(r"\"?sep=([,;|\t])\"?\s*", re.IGNORECASE)
QUOTED = re.compile(r'"(?:[^"]|"")*"')


def read_csv(content: IO[bytes], name: str) -> Iterator[tuple[int, dict[str, str] | ReadProblem]]:
    """Yield each row with the line it starts on, from 1.

    The delimiter is a comma, semicolon or tab: the one that the line `sep=` names, else the one
    that cuts the header into the most names. Lines of delimiters only are blank, and empty columns
    without a name after the last one are none.

    Raises:
        RequestError: The header is broken or repeats a name, or a quote is never closed.
    """
    csv.field_size_limit(streams.MAX_LINE_BYTES)
    with io.TextIOWrapper(content, "utf-8", errors="surrogateescape", newline="") as text:
        lines = _Lines(text)
        reader, first_line = _open_reader(lines)
        header = _read_header(reader, name, first_line)
        while True:
            line = reader.line_num + first_line
            lines.is_cut = False
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as err:
                num_lines = reader.line_num + first_line - line
                yield line, _describe_error(err, f"{name}:{line}", num_lines)
                continue
            if lines.is_cut:
                yield line, describe_long_line()
            elif any(values) or len(values) == len(header) == 1:
                yield line, _make_row(header, values)


class _Lines:
    """The lines of a text; `is_cut` tells whether one of them was too long and lost its end."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self.is_cut = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(streams.MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        if len(line) > streams.MAX_LINE_BYTES:
            self.is_cut = True
            end = line
            while end and not end.endswith(("\n", "\r")):
                end = self._text.readline(streams.BUFFER_BYTES)
        return line


def _open_reader(lines: _Lines) -> tuple[Any, int]:
    """Return a reader from the header on, and the number of the line it begins with."""
    first_line = 1
    line = next(lines, "")
    found = DELIMITER_LINE.fullmatch(line)
    if found:
        first_line, line = 2, next(lines, "")
    while line and not line.strip():
        first_line, line = first_line + 1, next(lines, "")
    delimiter = found[1] if found else _find_delimiter(line)
    rest = _chain(line, lines) if line else lines
    return csv.reader(rest, delimiter=delimiter, strict=True), first_line


def _chain(line: str, lines: _Lines) -> Iterator[str]:
    yield line
    yield from lines


def _find_delimiter(header: str) -> str:
    unquoted = QUOTED.sub("", header)
    return max(DELIMITERS, key=unquoted.count)  # the first, a comma, of equal ones


def _read_header(reader: Any, name: str, line: int) -> list[str]:
    try:
        header = [key.strip() for key in next(reader, [])]
    except csv.Error as err:
        raise RequestError(where=f"{name}:{line}", message=f"broken CSV header: {err}") from err
    problem = check_text(dict.fromkeys(header, ""))
    if isinstance(problem, ReadProblem):
        raise RequestError(where=f"{name}:{line}", message=f"in the header {problem.detail}")
    while header and not header[-1]:
        header.pop()
    if len(set(header)) != len(header):
        raise RequestError(where=f"{name}:{line}", message=f"the header repeats a name: {header}")
    return header


def _make_row(header: list[str], values: list[str]) -> dict[str, str] | ReadProblem:
    if not any(values[len(header) :]):
        values = values[: len(header)]
    if len(values) == len(header):
        row: dict[str, str] | ReadProblem = check_text(dict(zip(header, values, strict=True)))
        return row
    found = f"found {len(values)} values, the header has {len(header)}"
    return ReadProblem("broken_csv", f"broken CSV: {found}")


def _describe_error(err: csv.Error, where: str, num_lines: int) -> ReadProblem:
    is_unclosed = "unexpected end of data" in str(err)
    if is_unclosed or ("field larger" in str(err) and num_lines > 1):
        raise RequestError(
            where=where,
            message="a quote is opened here and never closed: rows cannot be told apart",
            hint="close it, or double the quotes inside a value",
        ) from err
    if "field larger" in str(err):
        return describe_long_line()
    return ReadProblem("broken_csv", f"broken CSV: {err}")
