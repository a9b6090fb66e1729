"""What stands in a run file of W&B: records of its own protocol, in blocks of a LevelDB log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK_BYTES = 1 << 15
FILE_HEADER_BYTES = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def iterate_chunks(data: bytes) -> Iterator[bytes]:
    """Yield the records of a LevelDB log, put together from their pieces."""
    position, pieces = FILE_HEADER_BYTES, b""
    while position + 7 <= len(data):
        left = BLOCK_BYTES - position % BLOCK_BYTES
        if left < 7:
            position += left
            continue
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind = data[position + 6]
        pieces += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in {FULL, LAST}:
            yield pieces
            pieces = b""


def read_records(path: Path) -> list[Any]:
    """Return the records of a `.wandb` file, as wandb's own protocol decodes them."""
    from wandb.proto.wandb_internal_pb2 import Record

    return [Record.FromString(chunk) for chunk in iterate_chunks(path.read_bytes())]


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the rows that a run logged."""
    return [
        {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        for record in read_records(path)
        if record.WhichOneof("record_type") == "history"
    ]
