"""How long the rows are in tokens, from the stored splits, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.formatting.ledger import TRAIN
from tasks.formatting.rendering.renderer import IGNORE_INDEX

Lengths = NDArray[np.int64]

ROWS_AT_A_TIME = 4096  # tokens of so many rows are held in memory


@dataclass(frozen=True)
class Distribution:
    """Figures of a list of lengths."""

    num: int
    smallest: int
    median: int
    p90: int
    p99: int
    longest: int
    mean: float


def list_splits(folder: Path) -> list[str]:
    """Return the names of the formatted splits in `folder`, in the order of `rank_split`."""
    return sorted((path.name for path in (folder / "tokens").iterdir()), key=rank_split)


def rank_split(name: str) -> tuple[bool, bool, str]:
    """Return a split's place: training first, then validation, then the others by name."""
    return name != TRAIN, name != "validation", name


def read_lengths(folder: Path) -> dict[str, Lengths]:
    """Return each row's length in tokens, by split."""
    return {split: read_token_lengths(folder, split) for split in list_splits(folder)}


def read_token_lengths(folder: Path, split: str) -> Lengths:
    """Return each row's length in tokens."""
    found = [np.diff(offsets) for offsets, _ in _read_lists(folder, split, "input_ids")]
    return np.concatenate([np.zeros(0, np.int64), *found])


def read_trained_lengths(folder: Path, split: str) -> Lengths:
    """Return how many tokens of each row are trained on."""
    found = [np.zeros(0, np.int64)]
    for offsets, labels in _read_lists(folder, split, "labels"):
        counted = np.concatenate([[0], np.cumsum(labels != IGNORE_INDEX)])
        found.append(np.diff(counted[offsets]))
    return np.concatenate(found)


def _read_lists(
    folder: Path, split: str, column: str
) -> Iterator[tuple[Lengths, NDArray[np.int32]]]:
    """Yield where some rows of a column of lists begin and end, and their values."""
    from datasets import load_from_disk

    chunks = load_from_disk(str(folder / "tokens" / split)).data.column(column).chunks
    for chunk in chunks:
        for start in range(0, len(chunk), ROWS_AT_A_TIME):
            piece = chunk.slice(start, ROWS_AT_A_TIME)
            offsets = piece.offsets.to_numpy().astype(np.int64)
            yield offsets - offsets[0], piece.flatten().to_numpy()


def summarize_lengths(lengths: Lengths) -> Distribution:
    """Return the figures of some lengths; percentiles are lengths that occur.

    >>> summarize_lengths(np.array([1, 2, 3, 4])).median
    2
    """
    if not len(lengths):
        return Distribution(0, 0, 0, 0, 0, 0, 0.0)
    marks = np.percentile(lengths, [0, 50, 90, 99, 100], method="inverted_cdf")
    smallest, median, p90, p99, longest = (int(mark) for mark in marks)
    mean = round(float(lengths.mean()), 1)
    return Distribution(len(lengths), smallest, median, p90, p99, longest, mean)
