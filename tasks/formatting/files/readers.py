"""Reading files of rows, one row at a time; what cannot be read is a row with a problem."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from configs.errors import RequestError
from tasks.formatting.files import streams
from tasks.formatting.files.arrow_rows import read_columns
from tasks.formatting.files.csv_rows import read_csv
from tasks.formatting.files.json_documents import read_json_document
from tasks.formatting.files.json_rows import (
    ReadProblem,
    check_text,
    describe_long_line,
    read_json_lines,
)
from tasks.formatting.files.streams import HEAD_BYTES, open_text, split_lines, strip_compression
from tasks.records.folders import walk_files

COLUMN_SUFFIXES = (".arrow", ".parquet")
SUFFIXES = (*COLUMN_SUFFIXES, ".csv", ".json", ".jsonl", ".ndjson", ".txt")
READABLE = ".arrow .csv .json .jsonl .ndjson .parquet .txt, plain, .gz or .zst"

Row: TypeAlias = dict[str, Any]
NumberedRow: TypeAlias = tuple[int, Row | ReadProblem]


@dataclass(frozen=True)
class SourceFile:
    """A file of rows and the name by which the ledger knows it."""

    path: Path
    name: str


def is_readable(name: str) -> bool:
    """Return whether a file of this name can hold rows.

    >>> is_readable("eval/test.jsonl.gz"), is_readable("README.md"), is_readable(".hidden.json")
    (True, False, False)
    """
    plain = strip_compression(name)
    return plain.endswith(SUFFIXES) and not plain.startswith(".")


def list_source_files(folder: Path) -> list[SourceFile]:
    """Return the readable files below `folder` by their path relative to it, sorted."""
    names = (path.relative_to(folder).as_posix() for path in walk_files(folder))
    return [SourceFile(folder / name, name) for name in sorted(names) if is_readable(name)]


def read_rows(file: SourceFile) -> Iterator[NumberedRow]:
    """Yield each row of a file with the line it starts on, from 1.

    Of Parquet and Arrow files the row's number stands for the line. Blank lines are not rows. Text
    is UTF-8, with or without a byte-order mark, or UTF-16 with one; lines may end in LF or CRLF.

    Raises:
        RequestError: The file is missing, empty, damaged, or its rows cannot be told apart.
    """
    suffix = Path(strip_compression(file.name)).suffix
    is_column_file = suffix in COLUMN_SUFFIXES
    rows = read_columns(file.path, file.name) if is_column_file else _read_text(file, suffix)
    is_empty = True
    for row in rows:
        is_empty = False
        yield row
    if is_empty:
        raise RequestError(
            where=file.name, message="the file holds no rows", hint="remove it, or fill it"
        )


def holds_json_lines(file: SourceFile) -> bool:
    """Return whether a file is JSONL: one object a line, not an array or indented objects.

    Raises:
        RequestError: The file is missing or damaged.
    """
    suffix = Path(strip_compression(file.name)).suffix
    if suffix not in {".jsonl", ".ndjson"}:
        return False
    with open_text(file.path, file.name) as content:
        first_line = content.read(HEAD_BYTES).lstrip().split(b"\n", 1)[0]
    # A row of JSONL never is a lone bracket: that is how an indented document begins.
    return first_line.strip() not in {b"{", b"["}


def _read_text(file: SourceFile, suffix: str) -> Iterator[NumberedRow]:
    is_document = suffix in {".json", ".jsonl", ".ndjson"} and not holds_json_lines(file)
    with open_text(file.path, file.name) as content:
        if suffix == ".csv":
            yield from read_csv(content, file.name)
        elif suffix == ".txt":
            yield from _read_paragraphs(content)
        elif is_document:
            yield from read_json_document(content, file.name)
        else:
            yield from read_json_lines(split_lines(content))


def _read_paragraphs(content: IO[bytes]) -> Iterator[NumberedRow]:
    lines: list[bytes] = []
    start = 1
    for number, line in enumerate(split_lines(content), start=1):
        if line.decode("utf-8", "surrogateescape").strip():
            start = start if lines else number
            lines.append(line)
        elif lines:
            yield start, _make_paragraph(lines)
            lines = []
    if lines:
        yield start, _make_paragraph(lines)


def _make_paragraph(lines: list[bytes]) -> Row | ReadProblem:
    if any(len(line) > streams.MAX_LINE_BYTES for line in lines):
        return describe_long_line()
    text = b"\n".join(line.rstrip(b"\r\n") for line in lines)
    return check_text({"text": text.decode("utf-8", "surrogateescape")})
