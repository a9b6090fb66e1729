"""Reading one chunk: every row parsed, checked, cleaned and written to a shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.schema import DataConfig, FormatName
from tasks.formatting.cleaning.near_duplicates import render_signed_text
from tasks.formatting.cleaning.row_cleaning import needs_cleaning
from tasks.formatting.files import streams
from tasks.formatting.files.json_rows import ReadProblem, read_json_lines
from tasks.formatting.files.readers import NumberedRow, SourceFile, read_rows
from tasks.formatting.files.streams import BUFFER_BYTES, split_lines
from tasks.formatting.intake.chunks import BLOCK_BYTES, Chunk, Piece
from tasks.formatting.intake.row_intake import (
    LeftOut,
    Sightings,
    agree_format,
    clean_row,
    hash_example,
    rename_row,
    understand_row,
)
from tasks.formatting.intake.row_shards import ShardWriter, dump_row
from tasks.formatting.ledger import TRAIN, LedgerEntry, Tally
from tasks.formatting.rows.examples import Example, example_to_dict
from tasks.formatting.rows.formats import detect_format
from tasks.records.digests import digest_value
from tasks.records.writing import read_json, write_json


@dataclass(frozen=True)
class ReadJob:
    """A chunk to read, and where its rows go."""

    chunk: Chunk
    data: DataConfig
    folder: Path
    code: str
    """Digest of the code and settings that rows are understood by."""

    @property
    def shard(self) -> Path:
        """The Arrow file of the rows."""
        return self.folder / f"{self.chunk.number:06}.arrow"

    @property
    def is_signed(self) -> bool:
        """Whether near-duplicates are looked for, by signatures."""
        return self.data.near_duplicates != "off"


@dataclass
class ChunkSummary:
    """What a chunk holds, beside its rows."""

    key: str
    """Digest of all that determines the shard; it is used again only when this is the same."""
    num_rows: int = 0
    formats: dict[str, FormatName] = field(default_factory=dict)
    """The format of each file, by its name."""
    sightings: Sightings = field(default_factory=Sightings)
    tally: Tally = field(default_factory=Tally)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as a JSON value."""
        return {**vars(self), "sightings": vars(self.sightings), "tally": self.tally.to_dict()}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ChunkSummary:
        """Return the summary that `to_dict` gave."""
        sightings = Sightings.from_dict(value["sightings"])
        return cls(**{**value, "sightings": sightings, "tally": Tally.from_dict(value["tally"])})


def read_chunk(job: ReadJob) -> ChunkSummary:
    """Write the rows of a chunk to its shard, unless an earlier run has done it.

    Raises:
        RequestError: A file cannot be read, or its rows are of several formats.
    """
    summary = ChunkSummary(digest_job(job))
    summary_file = job.shard.with_suffix(".json")
    if summary_file.is_file() and job.shard.is_file():
        found = ChunkSummary.from_dict(read_json(summary_file))
        if found.key == summary.key:
            return found
    summary_file.unlink(missing_ok=True)
    with ShardWriter(job.shard, is_signed=job.is_signed) as writer:
        for piece in job.chunk.pieces:
            for line, row in _understand_rows(piece, job, summary):
                if isinstance(row, LeftOut):
                    _leave_out(row, line, piece, job, writer, summary.tally)
                else:
                    _keep(row, line, piece, job, writer)
    summary.num_rows = writer.num_rows
    if writer.num_kept:
        summary.tally.counts[job.chunk.source, "kept", ""] = writer.num_kept
    write_json(summary_file, summary.to_dict())  # last: it says that the shard is whole
    return summary


def digest_job(job: ReadJob) -> str:
    """Return the digest of what determines a shard: the bytes, how they are read, by which code."""
    pieces = [
        [piece.number, piece.name, piece.first_line, piece.format, _digest_piece(piece)]
        for piece in job.chunk.pieces
    ]
    return digest_value([job.code, job.chunk.source, pieces])


def read_piece(piece: Piece) -> Iterator[NumberedRow]:
    """Yield the rows of a piece with their lines in the file."""
    if piece.stop is None:
        return read_rows(SourceFile(piece.path, piece.name))
    return read_json_lines(_read_stretch(piece), piece.first_line)


def find_first_format(piece: Piece, data: DataConfig) -> tuple[FormatName | None, int]:
    """Return the format of a piece, and the line of the first row that shows it."""
    line = 0
    for line, raw in read_piece(piece):
        row = raw if isinstance(raw, ReadProblem) else rename_row(raw, data, Sightings())
        if isinstance(row, dict) and (name := agree_format(None, row, "")):
            return name, line
    return None, line


def _understand_rows(
    piece: Piece, job: ReadJob, summary: ChunkSummary
) -> Iterator[tuple[int, Example | LeftOut]]:
    data, seen = job.data, summary.sightings
    is_training, is_cleaned = job.chunk.source == TRAIN, needs_cleaning(data)
    name = data.format or piece.format
    for line, raw in read_piece(piece):
        if isinstance(raw, ReadProblem):
            yield line, LeftOut("invalid", raw.reason, raw.detail)
            continue
        row = rename_row(raw, data, seen)
        if isinstance(row, LeftOut):
            yield line, row
            continue
        if data.format is None and detect_format(row) != name:
            name = agree_format(name, row, f"{piece.name}:{line}")
        group = row.get(data.group_by) if data.group_by else None
        understood = understand_row(row, name, group, data, seen)
        if is_cleaned and isinstance(understood, Example):
            understood = clean_row(understood, data, is_training, seen)
        yield line, understood
    if name:
        summary.formats[piece.name] = name


def _keep(example: Example, line: int, piece: Piece, job: ReadJob, writer: ShardWriter) -> None:
    group, hashes = hash_example(example)
    row = example_to_dict(example)
    row["group"] = group
    text = render_signed_text(example) if job.is_signed else ""
    writer.keep(piece.number, line, hashes, dump_row(row), text)


def _leave_out(
    row: LeftOut, line: int, piece: Piece, job: ReadJob, writer: ShardWriter, tally: Tally
) -> None:
    writer.leave_out(piece.number, line, row.outcome, row.reason, row.detail)
    origin = f"{piece.name}:{line}"
    tally.add(LedgerEntry(job.chunk.source, origin, row.outcome, row.reason, row.detail))


def _read_stretch(piece: Piece) -> Iterator[bytes]:
    assert piece.stop is not None
    with piece.path.open("rb", buffering=BUFFER_BYTES) as content:
        position = content.seek(piece.start)
        for line in split_lines(content):
            yield line
            # To ask for the position is slow; only a line that lost its end hides it.
            is_whole = len(line) <= streams.MAX_LINE_BYTES
            position = position + len(line) if is_whole else content.tell()
            if position >= piece.stop:
                return


def _digest_piece(piece: Piece) -> str:
    digest = hashlib.sha256()
    left = piece.path.stat().st_size if piece.stop is None else piece.stop - piece.start
    with piece.path.open("rb") as content:
        content.seek(piece.start)
        while left > 0 and (block := content.read(min(left, BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
