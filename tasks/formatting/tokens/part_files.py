"""The files of one part: tokens, examples and figures for each split, and the ledger rows."""

from __future__ import annotations

import functools
import itertools
import json
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.formatting.intake.row_shards import dump_row
from tasks.formatting.ledger import LedgerEntry
from tasks.formatting.rows.examples import digest_example, example_to_dict
from tasks.formatting.tokens.tokenizing import TokenizedRow
from tasks.records.digests import digest_bytes

LEDGER = "ledger.jsonl"
FIGURES = np.dtype([("digest", "V32"), ("group", "<u8"), ("length", "<i4"), ("trained", "<i4")])
"""Of each kept row: digest of the example, hash of its group, tokens, and tokens trained on."""


class PartFiles:
    """The open files of a part: one of each sort for each split that has rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._ledger = self._open(LEDGER)
        self._splits: dict[str, tuple[Any, IO[bytes], IO[bytes]]] = {}
        self.names = [LEDGER]

    def __enter__(self) -> PartFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def write_ledger(self, entries: list[LedgerEntry]) -> None:
        """Add rows to the ledger."""
        self._ledger.writelines(dump_row(entry.to_dict()) + b"\n" for entry in entries)

    def write_rows(self, rows: list[TokenizedRow]) -> None:
        """Add kept rows to the files of their splits."""
        by_split: dict[str, list[TokenizedRow]] = {}
        for row in rows:
            by_split.setdefault(row.entry.split, []).append(row)
        for split, mine in by_split.items():
            if split not in self._splits:
                self._splits[split] = self._open_split(split)
            tokens, examples, figures = self._splits[split]
            tokens.write_batch(make_token_batch(mine))
            lines = (dump_row(example_to_dict(row.example)) + b"\n" for row in mine)
            examples.writelines(lines)
            figures.write(_measure_rows(mine).tobytes())

    def _open(self, name: str) -> IO[bytes]:
        return self._stack.enter_context((self._folder / name).open("wb"))

    def _open_split(self, split: str) -> tuple[Any, IO[bytes], IO[bytes]]:
        names = [f"{split}.arrow", f"{split}.jsonl", f"{split}.figures"]
        self.names += names
        sink = self._open(names[0])
        writer = pa.ipc.new_stream(sink, make_token_schema())
        self._stack.callback(writer.close)
        return writer, self._open(names[1]), self._open(names[2])


@functools.cache
def make_token_schema() -> Any:
    """Return the columns of tokens, as `datasets` describes them."""
    numbers = {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "List"}
    features = {
        "id": {"dtype": "string", "_type": "Value"},
        "input_ids": numbers,
        "labels": numbers,
    }
    return pa.schema(
        [
            ("id", pa.string()),
            ("input_ids", pa.list_(pa.int32())),
            ("labels", pa.list_(pa.int32())),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def make_token_batch(rows: list[TokenizedRow]) -> Any:
    """Return the tokens of some rows as an Arrow batch."""
    tokens = [row.tokens for row in rows if row.tokens]
    columns = [
        pa.array([row.entry.id for row in rows], pa.string()),
        _make_lists([t.input_ids for t in tokens]),
        _make_lists([t.labels for t in tokens]),
    ]
    return pa.record_batch(columns, schema=make_token_schema())


def _make_lists(rows: list[list[int]]) -> Any:
    """Return lists of numbers as Arrow does, which would look at the type of each number."""
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    values = np.fromiter(itertools.chain.from_iterable(rows), np.int32, int(ends[-1]))
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values))


def _measure_rows(rows: list[TokenizedRow]) -> NDArray[Any]:
    return np.array(
        [
            (
                digest_example(row.example),
                int(digest_bytes(row.example.group.encode())[:16], 16),
                len(row.tokens.input_ids),
                row.tokens.num_trained,
            )
            for row in rows
            if row.tokens
        ],
        FIGURES,
    )
