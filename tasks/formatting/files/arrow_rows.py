"""Rows in Arrow and Parquet files, nested columns as Python values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from configs.errors import RequestError
from tasks.formatting.files.json_rows import ReadProblem
from tasks.formatting.files.streams import open_plain, strip_compression

# Rows turned into Python values at a time: they take far more memory than in Arrow.
BATCH_ROWS = 1024
ARROW_FILE_HEAD = b"ARROW1"

OpenBatches: TypeAlias = Callable[[Any], Iterator[Any]]


def read_columns(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any] | ReadProblem]]:
    """Yield each row of a Parquet or Arrow file with its number, from 1.

    Arrow files are streams, as `datasets` saves them, or files (Feather).

    Raises:
        RequestError: The file is missing or damaged.
    """
    import pyarrow as pa

    plain = strip_compression(name)
    kind, open_batches = ARROW if plain.endswith(".arrow") else PARQUET
    with open_plain(path, name) as content:
        # Both kinds are read from their ends: what is compressed must be held in memory.
        is_compressed = plain != Path(name).name.lower()
        buffer = pa.py_buffer(content.read()) if is_compressed else None
    try:
        with pa.BufferReader(buffer) if buffer else pa.memory_map(str(path)) as file:
            number = 0
            for batch in open_batches(file):
                for row in _list_rows(batch):
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as err:
        raise RequestError(where=name, message=f"not a readable {kind} file ({err})") from err


def _open_parquet(file: Any) -> Iterator[Any]:
    from pyarrow import parquet

    yield from parquet.ParquetFile(file).iter_batches(BATCH_ROWS)


def _open_arrow(file: Any) -> Iterator[Any]:
    import pyarrow as pa

    head = file.read(len(ARROW_FILE_HEAD))
    file.seek(0)
    if head == ARROW_FILE_HEAD:
        reader = pa.ipc.open_file(file)
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        yield from pa.ipc.open_stream(file)


PARQUET: tuple[str, OpenBatches] = ("Parquet", _open_parquet)
ARROW: tuple[str, OpenBatches] = ("Arrow", _open_arrow)


def _list_rows(batch: Any) -> Iterator[dict[str, Any] | ReadProblem]:
    for start in range(0, batch.num_rows, BATCH_ROWS):
        part = batch.slice(start, BATCH_ROWS)
        try:
            yield from part.to_pylist()
        except UnicodeDecodeError:
            yield from (_read_row(part.slice(i, 1)) for i in range(part.num_rows))


def _read_row(single: Any) -> dict[str, Any] | ReadProblem:
    try:
        row: dict[str, Any] = single.to_pylist()[0]
    except UnicodeDecodeError as err:
        return ReadProblem("broken_encoding", f"the text is not valid UTF-8 ({err.reason})")
    return row
