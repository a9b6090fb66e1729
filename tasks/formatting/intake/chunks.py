"""Cutting the files of a data version into chunks of work: big ones cut, small ones together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RequestError
from configs.schema import FormatName
from tasks.formatting.files.readers import SourceFile, holds_json_lines
from tasks.formatting.files.streams import UTF_8_MARK, UTF_16_MARKS

CHUNK_BYTES = 16 << 20
BLOCK_BYTES = 1 << 20
LINE_SUFFIXES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Piece:
    """A file of rows, or a stretch of one that begins and ends with a line."""

    number: int
    """The file's place among all files of the data version."""
    name: str
    path: Path
    start: int = 0
    """Bytes before the stretch."""
    stop: int | None = None
    """Where the stretch ends, in bytes; None for a whole file, read as its name says."""
    first_line: int = 1
    format: FormatName | None = None
    """The format that rows before the stretch have shown."""


@dataclass(frozen=True)
class Chunk:
    """What one job reads: pieces of one source, in reading order."""

    number: int
    source: str
    pieces: tuple[Piece, ...]
    num_bytes: int


def plan_chunks(
    files: Mapping[str, list[SourceFile]], chunk_bytes: int = CHUNK_BYTES
) -> list[Chunk]:
    """Cut the files of each source into chunks of about `chunk_bytes`.

    Plain JSON lines are cut anywhere between two lines; other files are read whole.

    Args:
        files: The files of each source, in reading order.
        chunk_bytes: A chunk is closed when it has reached this size.
    """
    chunks: list[Chunk] = []
    number = 0
    for source, mine in files.items():
        pieces: list[Piece] = []
        total = 0
        for file in mine:
            for piece, num_bytes in _cut_file(file, number, chunk_bytes):
                pieces.append(piece)
                total += num_bytes
                if total >= chunk_bytes:
                    chunks.append(Chunk(len(chunks), source, tuple(pieces), total))
                    pieces, total = [], 0
            number += 1
        if pieces:
            chunks.append(Chunk(len(chunks), source, tuple(pieces), total))
    return chunks


def _cut_file(file: SourceFile, number: int, chunk_bytes: int) -> Iterator[tuple[Piece, int]]:
    try:
        size = file.path.stat().st_size
    except FileNotFoundError as err:
        raise RequestError(where=file.name, message="there is no such file") from err
    if size <= chunk_bytes or not _has_row_a_line(file):
        yield Piece(number, file.name, file.path), size
        return
    for start, stop, line in _find_stretches(file.path, chunk_bytes):
        yield Piece(number, file.name, file.path, start, stop, line), stop - start


def _has_row_a_line(file: SourceFile) -> bool:
    """Return whether a file can be cut between any two of its lines."""
    if not file.name.lower().endswith(LINE_SUFFIXES) or not holds_json_lines(file):
        return False
    with file.path.open("rb") as content:
        return content.read(2) not in UTF_16_MARKS  # a line end is not one byte there


def _find_stretches(path: Path, chunk_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Yield where each stretch begins and ends, and the number of its first line."""
    with path.open("rb") as content:
        start = len(UTF_8_MARK) if content.read(len(UTF_8_MARK)) == UTF_8_MARK else 0
        content.seek(start)
        position, line, num_lines = start, 1, 0
        while block := content.read(min(BLOCK_BYTES, chunk_bytes)):
            if position + len(block) - start >= chunk_bytes and (end := block.rfind(b"\n")) >= 0:
                stop = position + end + 1
                yield start, stop, line
                line += num_lines + block.count(b"\n")
                start, num_lines = stop, 0
            else:
                num_lines += block.count(b"\n")
            position += len(block)
        if position > start:
            yield start, position, line
