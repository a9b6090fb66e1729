"""Understood rows on disk, between the passes: Arrow files that are read batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tasks.formatting.cleaning.near_duplicates import sign_texts
from tasks.formatting.files.json_rows import parse_json_line
from tasks.formatting.ledger import Outcome

ROWS_PER_BATCH = 512
BYTES_PER_BATCH = 1 << 20
OUTCOMES: tuple[Outcome, ...] = ("kept", "invalid", "filtered")
SIGNATURE = "signature"
SCHEMA = pa.schema(
    [
        ("file", pa.int32()),
        ("line", pa.int64()),
        ("outcome", pa.int8()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("content", pa.uint64()),
        ("prompt", pa.uint64()),
        ("group", pa.uint64()),
        ("example", pa.binary()),
    ]
)
SIGNED_SCHEMA = SCHEMA.append(pa.field(SIGNATURE, pa.binary()))
NO_HASHES = bytes(24)


def dump_row(row: dict[str, Any]) -> bytes:
    r"""Return a JSON object as one line without its end, in UTF-8.

    >>> dump_row({"a": [1, "é"]}) == '{"a":[1,"é"]}'.encode()
    True
    """
    try:
        return orjson.dumps(row)
    except TypeError:  # a whole number above 64 bits
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def load_row(line: bytes) -> dict[str, Any]:
    """Return the object that `dump_row` wrote."""
    row = parse_json_line(line)
    assert isinstance(row, dict), "hone's own rows are whole"
    return row


class ShardWriter:
    """Writes rows to an Arrow file, a batch at a time; the file gets its name when it is whole."""

    def __init__(self, path: Path, *, is_signed: bool = False) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._schema = SIGNED_SCHEMA if is_signed else SCHEMA
        # Not compressed: LZ4 would halve the file, and took an eighth of the time of this pass.
        self._file = pa.ipc.new_file(str(self._part), self._schema)
        self._rows: list[tuple[int, int, int, str, str, bytes, bytes]] = []
        self._texts: list[str] = []
        self._num_bytes = 0
        self.num_rows = 0
        self.num_kept = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._flush()
        self._file.close()
        if error is None:
            self._part.replace(self._path)

    def keep(self, file: int, line: int, hashes: bytes, example: bytes, text: str = "") -> None:
        """Add a row that is kept.

        Args:
            file: The number of its file.
            line: Its line.
            hashes: 8 bytes each of its content, prompt and group, most significant first.
            example: The example, as `dump_row` writes it.
            text: What near-duplicates are told by, where the shard is signed.
        """
        self.num_kept += 1
        self._texts.append(text)
        self._add((file, line, 0, "", "", hashes, example))

    def leave_out(self, file: int, line: int, outcome: Outcome, reason: str, detail: str) -> None:
        """Add a row that is not kept, and why."""
        self._texts.append("")
        self._add((file, line, OUTCOMES.index(outcome), reason, detail, NO_HASHES, b""))

    def _add(self, row: tuple[int, int, int, str, str, bytes, bytes]) -> None:
        self._rows.append(row)
        self._num_bytes += len(row[-1])
        if len(self._rows) >= ROWS_PER_BATCH or self._num_bytes >= BYTES_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        *plain, hashes, examples = zip(*self._rows, strict=True)
        columns: list[Any] = [*plain, *_split_hashes(hashes), examples]
        if self._schema is SIGNED_SCHEMA:
            columns.append([row.tobytes() for row in sign_texts(self._texts)])
        arrays = [
            pa.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._file.write_batch(pa.record_batch(arrays, schema=self._schema))
        self.num_rows += len(self._rows)
        self._rows, self._texts, self._num_bytes = [], [], 0


def _split_hashes(hashes: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return the hashes of rows by column, shape (3, rows)."""
    return np.frombuffer(b"".join(hashes), ">u8").reshape(-1, 3).T.astype(np.uint64)


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a file that `ShardWriter` wrote.

    Args:
        path: The file.
        columns: The columns to read; all by default. They are views of the mapped file: whoever
            keeps one keeps the whole file in its memory.
    """
    # A file that is not mapped is read whole, whatever columns are asked for.
    with pa.OSFile(str(path)) if columns is None else pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            yield batch if columns is None else batch.select(list(columns))
