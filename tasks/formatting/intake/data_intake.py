"""Reading the pinned files of a data version: rows on disk, a few columns of them in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import RequestError
from configs.schema import DataConfig, FormatName
from tasks.formatting.cleaning.near_duplicates import NUM_PERM
from tasks.formatting.files.readers import READABLE, SourceFile, list_source_files
from tasks.formatting.intake.chunk_intake import (
    ChunkSummary,
    ReadJob,
    find_first_format,
    read_chunk,
)
from tasks.formatting.intake.chunks import CHUNK_BYTES, Chunk, Piece, plan_chunks
from tasks.formatting.intake.row_intake import Sightings
from tasks.formatting.intake.row_shards import SIGNATURE, read_batches
from tasks.formatting.ledger import TRAIN, Tally
from tasks.formatting.parallel import count_processes, run_jobs
from tasks.formatting.rows.columns import check_columns, check_columns_found
from tasks.formatting.rows.formats import check_roles
from tasks.records.digests import digest_code, digest_value
from tasks.records.handles import Kind
from tasks.records.observer import Observer

LOG = logging.getLogger("hone")
COLUMNS = ("file", "line", "outcome", "content", "prompt", "group")


@dataclass(frozen=True)
class Shard:
    """The rows of one chunk on disk."""

    path: Path
    source: str
    key: str
    """Digest of all that determines the rows."""
    first_row: int
    num_rows: int

    @property
    def rows(self) -> slice:
        """The place of its rows among all rows."""
        return slice(self.first_row, self.first_row + self.num_rows)


@dataclass
class Intake:
    """What was read: the shards, in reading order, and what pass over all rows needs of them."""

    sources: tuple[str, ...]
    """`train` first, then the evaluation sets, sorted."""
    files: tuple[str, ...]
    """The name of each file, by its number."""
    shards: list[Shard] = field(default_factory=list)
    formats: dict[str, FormatName] = field(default_factory=dict)
    """The format of each file, by `source: name`."""
    sightings: Sightings = field(default_factory=Sightings)
    tally: Tally = field(default_factory=Tally)
    num_bytes: int = 0
    """The size of the files."""

    @property
    def kind(self) -> Kind:
        """Whether the rows are conversations or texts."""
        return "text" if set(self.formats.values()) == {"text"} else "messages"

    @property
    def num_rows(self) -> int:
        """How many rows were read."""
        return sum(shard.num_rows for shard in self.shards)

    def add_chunk(self, job: ReadJob, summary: ChunkSummary) -> None:
        """Take in what one chunk holds."""
        chunk = job.chunk
        first_row = self.num_rows
        self.shards.append(Shard(job.shard, chunk.source, summary.key, first_row, summary.num_rows))
        self.formats |= {f"{chunk.source}: {name}": f for name, f in summary.formats.items()}
        self.sightings.merge(summary.sightings)
        self.tally.merge(summary.tally)


@dataclass(frozen=True)
class ReadColumns:
    """Columns of all rows, in reading order."""

    file: NDArray[np.int32]
    """Index into `Intake.files`."""
    line: NDArray[np.int64]
    outcome: NDArray[np.int8]
    """Index into `row_shards.OUTCOMES`."""
    content: NDArray[np.uint64]
    """The first 8 bytes of the content's digest, as those of the prompt."""
    prompt: NDArray[np.uint64]
    group: NDArray[np.uint64]
    """`splits.hash_group` of the group key."""


def read_sources(
    source: Path,
    data: DataConfig,
    work: Path,
    observer: Observer,
    *,
    chunk_bytes: int = CHUNK_BYTES,
    num_processes: int | None = None,
) -> Intake:
    """Read every training file and evaluation set of a data version.

    Args:
        source: Holds `train/` and, for each evaluation set, `eval/<name>/`, with files below.
        data: How rows are understood.
        work: The folder that gets the shards; those of an earlier attempt are used again.
        observer: Hears of the progress.
        chunk_bytes: About how much a job reads.
        num_processes: How many jobs at a time; None for what suits the machine and the data.

    Raises:
        RequestError: No file, an unreadable one, formats that do not go together.
    """
    check_roles(data.roles)
    check_columns(data.columns)
    files = list_files(source)
    intake = Intake(tuple(files), tuple(file.name for mine in files.values() for file in mine))
    work.mkdir(parents=True, exist_ok=True)
    code = digest_value([digest_code("tasks.formatting"), data.model_dump(mode="json")])
    chunks = tell_formats(plan_chunks(files, chunk_bytes), data)
    jobs = [ReadJob(chunk, data, work, code) for chunk in chunks]
    total, done = sum(chunk.num_bytes for chunk in chunks), 0
    intake.num_bytes = total
    answers = run_jobs(read_chunk, jobs, num_processes or count_processes(len(jobs), total))
    for job, summary in zip(jobs, answers, strict=True):
        intake.add_chunk(job, summary)
        done += job.chunk.num_bytes
        observer.report_progress(done >> 10, total >> 10, "KB read")
    if not intake.num_rows:  # a big file is read in stretches, each of which may be blank
        raise RequestError(where="data.source", message="the files hold no rows: all is blank")
    _check_kinds(intake)
    check_columns_found(data.columns, intake.sightings.columns)
    for role in sorted(set(data.roles) - set(intake.sightings.mapped_roles)):
        LOG.warning('data.roles: no turn has the role "%s"', role)
    return intake


def list_files(source: Path) -> dict[str, list[SourceFile]]:
    """Return the files of each source.

    Raises:
        RequestError: A source has none.
    """
    files = {}
    for name, folder in list_sources(source).items():
        files[name] = list_source_files(folder) if folder.is_dir() else []
        if not files[name]:
            raise RequestError(
                where="data.source", message=f"no readable file for {name}", allowed=READABLE
            )
    return files


def list_sources(source: Path) -> dict[str, Path]:
    """Return the folder of the training files and of each evaluation set, by name."""
    sets = sorted(p for p in (source / "eval").glob("*") if p.is_dir())
    if any(p.name == TRAIN for p in sets):
        raise RequestError(where="data.eval_sources.train", message="an evaluation set named train")
    return {TRAIN: source / "train", **{p.name: p for p in sets}}


def tell_formats(chunks: Sequence[Chunk], data: DataConfig) -> list[Chunk]:
    """Tell each later stretch of a file the format that the rows before it have shown."""
    known: dict[int, tuple[FormatName | None, int]] = {}

    def tell(piece: Piece) -> Piece:
        if piece.stop is None or data.format:
            return piece
        if piece.number not in known:
            whole = Piece(piece.number, piece.name, piece.path)
            known[piece.number] = find_first_format(whole, data)
        name, line = known[piece.number]
        return replace(piece, format=name) if piece.first_line > line else piece

    return [replace(chunk, pieces=tuple(map(tell, chunk.pieces))) for chunk in chunks]


def read_columns(intake: Intake) -> ReadColumns:
    """Return the columns that are compared over all rows."""
    batches = (batch for shard in intake.shards for batch in read_batches(shard.path, COLUMNS))
    # Copied, for a view would keep all columns of its batch in memory: all bytes of all rows.
    parts = [[batch[name].to_numpy().copy() for name in COLUMNS] for batch in batches]
    return ReadColumns(*map(np.concatenate, zip(*parts, strict=True)))


def read_signatures(intake: Intake, path: Path) -> NDArray[np.uint32]:
    """Return the signatures of all rows, shape (rows, NUM_PERM), memory-mapped from a new file."""
    rows: NDArray[np.uint32] = np.memmap(path, np.uint32, "w+", shape=(intake.num_rows, NUM_PERM))
    row = 0
    for shard in intake.shards:
        for batch in read_batches(shard.path, (SIGNATURE,)):
            found = b"".join(batch[SIGNATURE].to_pylist())
            rows[row : row + batch.num_rows] = np.frombuffer(found, np.uint32).reshape(-1, NUM_PERM)
            row += batch.num_rows
    return rows


def number_repeats(sources: NDArray[np.int16], content: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return how many earlier rows of its source each row repeats.

    >>> number_repeats(np.zeros(4, np.int16), np.array([7, 8, 7, 7], np.uint64)).tolist()
    [0, 0, 1, 2]
    """
    order = np.lexsort((content, sources))  # stable: equal rows stay in reading order
    source, digest = sources[order], content[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (source[1:] != source[:-1]) | (digest[1:] != digest[:-1])
    places = np.arange(len(order))
    starts = np.maximum.accumulate(np.where(is_first, places, 0))
    repeats = np.empty(len(order), np.int64)
    repeats[order] = places - starts
    return repeats


def _check_kinds(intake: Intake) -> None:
    texts = [file for file, name in intake.formats.items() if name == "text"]
    others = [file for file, name in intake.formats.items() if name != "text"]
    if texts and others:
        raise RequestError(
            where="data.format",
            message=f"texts ({_list_first(texts)}) beside conversations ({_list_first(others)})",
            allowed="one kind of rows a run",
            hint="choose the files with data.pattern",
        )


def _list_first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
