"""Splits as folders that `datasets.load_from_disk` opens, one row an example."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

BATCH_ROWS = 1000
SHARD_BYTES = 256 << 20


def export_split(rows: Iterable[Mapping[str, Any]], folder: Path, *, name: str, digest: str) -> int:
    """Write the examples of a split as an Arrow data set; equal examples give equal files.

    Args:
        rows: The examples as JSON objects, as `example_to_dict` makes them.
        folder: A new folder.
        name: The split's name.
        digest: The split's digest, which becomes the data set's fingerprint.

    Returns:
        The number of rows.
    """
    import pyarrow as pa
    from datasets import Dataset, NamedSplit
    from datasets.table import MemoryMappedTable

    schema = make_schema()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as temporary:
        stream = str(Path(temporary) / "rows.arrow")
        with pa.OSFile(stream, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for batch in _take_batches(map(flatten_example, rows)):
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
        table = MemoryMappedTable.from_file(stream)
        dataset = Dataset(table, split=NamedSplit(name), fingerprint=digest[:16])
        with _hide_bars():
            dataset.save_to_disk(str(folder), num_shards=max(1, table.nbytes // SHARD_BYTES))
    return int(table.num_rows)


def make_schema() -> Any:
    """Return the columns of a split; they are the same for every kind of rows."""
    import pyarrow as pa

    call = pa.struct([("name", pa.string()), ("arguments", pa.string()), ("id", pa.string())])
    turn = pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.string()),
            ("tool_calls", pa.list_(call)),
            ("tool_call_id", pa.string()),
            ("name", pa.string()),
            ("is_trained", pa.bool_()),
        ]
    )
    texts = [(key, pa.string()) for key in ("id", "group", "origin", "text", "tools", "fields")]
    turns = [("messages", pa.list_(turn)), ("rejected", pa.list_(turn))]
    return pa.schema([*texts, *turns, ("rejected_at", pa.int64()), ("label", pa.bool_())])


def flatten_example(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an example's row: its other fields as JSON text, since they differ from row to row.

    >>> flatten_example({"id": "a", "fields": {"kind": "sum"}, "messages": []})
    {'id': 'a', 'fields': '{"kind": "sum"}', 'messages': []}
    """
    # A turn's row says that it is trained on only where it is not.
    messages = [{"is_trained": True, **turn} for turn in row["messages"]]
    fields = json.dumps(row.get("fields") or {}, ensure_ascii=False)
    return {**row, "messages": messages, "fields": fields}


def read_example_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the examples of a JSON-lines file as objects, one at a time."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _take_batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


@contextmanager
def _hide_bars() -> Iterator[None]:
    """Keep the library's own progress bars off the terminal, as they were before afterwards."""
    from datasets.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    was_shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if was_shown:
            enable_progress_bars()
