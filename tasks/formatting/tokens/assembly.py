"""Putting the parts of all shards together: the files that training and evaluation read."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.formatting.tokens.part_files import FIGURES, LEDGER, make_token_schema
from tasks.records.handles import SplitRecord
from tasks.records.writing import open_atomic, write_json

COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class SplitFigures:
    """What is known of a split's rows without reading them."""

    record: SplitRecord
    median_tokens: int
    longest_tokens: int


def assemble_splits(parts: Sequence[Path], out: Path) -> dict[str, SplitFigures]:
    """Put `examples/`, `tokens/` and `ledger.jsonl` together from parts; the parts are used up.

    Args:
        parts: The folders that `token_parts` wrote, in reading order.
        out: The folder to fill.

    Returns:
        The figures of each split, training first.
    """
    names = {file.stem for part in parts for file in part.glob("*.figures")}
    splits = sorted(names, key=lambda name: (name != "train", name != "validation", name))
    figures = {}
    for split in splits:
        mine = [part for part in parts if (part / f"{split}.figures").is_file()]
        figures[split] = measure_split([part / f"{split}.figures" for part in mine])
        join_files([part / f"{split}.jsonl" for part in mine], out / "examples" / f"{split}.jsonl")
        digest = figures[split].record.digest
        move_tokens([part / f"{split}.arrow" for part in mine], out / "tokens" / split, digest)
    join_files([part / LEDGER for part in parts], out / "ledger.jsonl")
    return figures


def measure_split(files: Sequence[Path]) -> SplitFigures:
    """Return the figures of a split from those of its rows, in order."""
    rows: NDArray[Any] = np.concatenate([np.fromfile(file, FIGURES) for file in files])
    record = SplitRecord(
        rows=len(rows),
        groups=len(np.unique(rows["group"])),
        tokens=int(rows["length"].sum()),
        trained_tokens=int(rows["trained"].sum()),
        digest=hashlib.sha256(np.ascontiguousarray(rows["digest"]).tobytes()).hexdigest(),
    )
    return SplitFigures(record, round(float(np.median(rows["length"]))), int(rows["length"].max()))


def join_files(files: Sequence[Path], target: Path) -> None:
    """Write files one after the other into one; they are removed."""
    with open_atomic(target, "wb") as joined:
        for file in files:
            with file.open("rb") as part:
                shutil.copyfileobj(part, joined, COPY_BYTES)
            file.unlink()


def move_tokens(files: Sequence[Path], folder: Path, digest: str) -> None:
    """Make Arrow files a data set that `datasets.load_from_disk` opens.

    Args:
        files: Arrow streams with the columns of tokens, in order.
        folder: The folder to make.
        digest: What its rows are named by; by default `datasets` would take the time.
    """
    from datasets import DatasetInfo, Features

    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{len(files):05}.arrow" for i in range(len(files))]
    for file, name in zip(files, names, strict=True):
        file.rename(folder / name)
    features = Features.from_arrow_schema(make_token_schema())
    DatasetInfo(features=features).write_to_directory(str(folder), pretty_print=True)
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": digest[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    write_json(folder / "state.json", state)
