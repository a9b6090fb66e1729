"""Reading files of rows, one row at a time; what cannot be read is a row with a problem."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from configs.errors import RequestError
from tasks.formatting.json_rows import ReadProblem, check_text, read_json_document, read_json_lines

SUFFIXES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".txt")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEAD_BYTES = 1 << 16
MAX_FIELD_CHARS = min(sys.maxsize, 2**31 - 1)

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
    plain = Path(name).name.lower().removesuffix(".gz")
    return plain.endswith(SUFFIXES) and not plain.startswith(".")


def list_source_files(folder: Path) -> list[SourceFile]:
    """Return the readable files below `folder` by their path relative to it, sorted."""
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return [SourceFile(folder / name, name) for name in sorted(names) if is_readable(name)]


def read_rows(file: SourceFile) -> Iterator[NumberedRow]:
    """Yield each row of a file with the line it starts on (for Parquet: its number), from 1.

    Blank lines are not rows. Line endings may be LF or CRLF, a byte-order mark is passed over.

    Raises:
        RequestError: The file is missing, empty, damaged, or its rows cannot be told apart.
    """
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    is_empty = True
    try:
        with _open_plain(file) as content:
            for row in _read_content(content, suffix, file.name):
                is_empty = False
                yield row
    except FileNotFoundError as err:
        raise RequestError(where=file.name, message="there is no such file") from err
    except (gzip.BadGzipFile, EOFError, zlib.error) as err:
        raise RequestError(
            where=file.name, message=f"damaged gzip file ({err})", hint="compress it again"
        ) from err
    if is_empty:
        raise RequestError(
            where=file.name, message="the file holds no rows", hint="remove it, or fill it"
        )


def _open_plain(file: SourceFile) -> IO[bytes]:
    if file.name.lower().endswith(".gz"):
        return cast("IO[bytes]", gzip.open(file.path, "rb"))
    return file.path.open("rb")


def _read_content(content: IO[bytes], suffix: str, name: str) -> Iterator[NumberedRow]:
    if suffix == ".parquet":
        return _read_parquet(content, name)
    head = content.read(HEAD_BYTES)
    mark_bytes = len(BYTE_ORDER_MARK) if head.startswith(BYTE_ORDER_MARK) else 0
    content.seek(mark_bytes)
    if suffix == ".csv":
        return _read_csv(content, name)
    if suffix == ".txt":
        return _read_paragraphs(content)
    first_line = head[mark_bytes:].lstrip().split(b"\n", 1)[0]
    # A row of JSONL never is a lone bracket: that is how an indented document begins.
    if suffix == ".json" or first_line.strip() in {b"{", b"["}:
        return read_json_document(content.read(), name)
    return read_json_lines(content)


def _read_csv(content: IO[bytes], name: str) -> Iterator[NumberedRow]:
    csv.field_size_limit(MAX_FIELD_CHARS)
    with io.TextIOWrapper(content, "utf-8", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True)
        header = _read_csv_header(reader, name)
        while True:
            line = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as err:
                yield line, _describe_csv_error(err, f"{name}:{line}")
                continue
            if len(values) == len(header):
                yield line, check_text(dict(zip(header, values, strict=True)))
            elif values:
                found = f"found {len(values)} values, the header has {len(header)}"
                yield line, ReadProblem("broken_csv", f"broken CSV: {found}")


def _describe_csv_error(err: csv.Error, where: str) -> ReadProblem:
    if "unexpected end of data" in str(err):
        raise RequestError(
            where=where,
            message="a quote is opened here and never closed: rows cannot be told apart",
            hint="close it, or double the quotes inside a value",
        ) from err
    return ReadProblem("broken_csv", f"broken CSV: {err}")


def _read_csv_header(reader: Any, name: str) -> list[str]:
    try:
        header: list[str] = next((values for values in reader if values), [])
    except csv.Error as err:
        raise RequestError(where=f"{name}:1", message=f"broken CSV header: {err}") from err
    if len(set(header)) != len(header):
        raise RequestError(where=f"{name}:1", message=f"the header repeats a name: {header}")
    return [key.strip() for key in header]


def _read_paragraphs(content: IO[bytes]) -> Iterator[NumberedRow]:
    lines: list[str] = []
    start = 1
    for number, raw in enumerate(content, start=1):
        line = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if line.strip():
            start = start if lines else number
            lines.append(line)
        elif lines:
            yield start, check_text({"text": "\n".join(lines)})
            lines = []
    if lines:
        yield start, check_text({"text": "\n".join(lines)})


def _read_parquet(content: IO[bytes], name: str) -> Iterator[NumberedRow]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(io.BytesIO(content.read()))
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as err:
        raise RequestError(where=name, message=f"not a readable Parquet file ({err})") from err
