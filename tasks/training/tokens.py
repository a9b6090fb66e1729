"""The tokenised splits that formatting wrote, memory-mapped, and the packed rows made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from configs.errors import RequestError
from tasks.training.collator import IGNORE_INDEX, PackedRow, pack_row


@dataclass(frozen=True)
class TokenSplit:
    """One tokenised split with the columns id, input_ids and labels."""

    name: str
    dataset: Any

    @cached_property
    def ids(self) -> list[str]:
        """The examples' ids, in order."""
        return list(self.dataset["id"])

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each example, in order."""
        return [n for c in self._read_chunks("input_ids") for n in c.value_lengths().to_pylist()]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the ids, tokens and labels."""
        digest = hashlib.sha256(repr((self.ids, self.lengths)).encode())
        for column in ("input_ids", "labels"):
            for chunk in self._read_chunks(column):
                digest.update(chunk.flatten().to_numpy().astype(np.int64).tobytes())
        return digest.hexdigest()

    def read_row(self, indices: Sequence[int], *, pad_to: int = 0) -> PackedRow:
        """Return some examples as one packed row, filled up to `pad_to` tokens."""
        if not indices:
            return pack_row([], pad_to=pad_to)
        found = self.dataset[list(indices)]
        return pack_row(zip(found["input_ids"], found["labels"], strict=True), pad_to=pad_to)

    def count_trained(self) -> np.ndarray[Any, Any]:
        """Return how many tokens of each example are trained on."""
        counts = []
        for chunk in self._read_chunks("labels"):
            is_trained = chunk.flatten().to_numpy() != IGNORE_INDEX
            # Differences of a running sum also hold for an example without any token.
            running = np.concatenate([[0], np.cumsum(is_trained)])
            bounds = np.concatenate([[0], np.cumsum(chunk.value_lengths().to_numpy())])
            counts.append(np.diff(running[bounds]))
        return np.concatenate(counts)

    def _read_chunks(self, column: str) -> list[Any]:
        """Return a column of lists as Arrow arrays, memory-mapped."""
        chunks: list[Any] = self.dataset.with_format("arrow")[:][column].chunks
        return chunks


@dataclass(frozen=True)
class TrainingSet(Dataset):  # type: ignore[misc]
    """Planned rows of a split, in order, made when they are asked for.

    Attributes:
        split: The examples.
        rows: The indices of those in each row.
        pad_to: Tokens that each row is filled up to; 0: rows are as long as they are.
    """

    split: TokenSplit
    rows: tuple[tuple[int, ...], ...]
    pad_to: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> PackedRow:
        return self.split.read_row(self.rows[index], pad_to=self.pad_to)

    def list_share(self, rank: int, num_ranks: int) -> Iterator[PackedRow]:
        """Yield one process's share of the rows: equally many for each, the last may be empty."""
        shares = -(-len(self.rows) // num_ranks)
        for index in range(rank, shares * num_ranks, num_ranks):
            yield self[index] if index < len(self.rows) else self.split.read_row(())


def open_split(formatted: Path, name: str) -> TokenSplit | None:
    """Open a tokenised split, or return None where there is none or it is empty.

    Args:
        formatted: The folder that formatting wrote.
        name: `train` or `validation`.
    """
    from datasets import load_from_disk

    folder = formatted / "tokens" / name
    if not folder.is_dir():
        return None
    dataset = load_from_disk(str(folder))
    return TokenSplit(name, dataset) if len(dataset) else None


def check_split(split: TokenSplit, max_length: int) -> None:
    """Refuse a split with an example that trains nothing or does not fit a row.

    Raises:
        RequestError: With the first example's id.
    """
    counts = split.count_trained()
    if not counts.all():
        empty = [split.ids[i] for i in np.flatnonzero(counts == 0)]
        raise RequestError(
            where=f"tokens/{split.name}",
            message=f"{len(empty)} of {len(counts)} examples have no trained token: {empty[0]}",
            hint="format the data again; the row ledger says how each row was masked",
        )
    longest = int(np.argmax(split.lengths))
    if split.lengths[longest] > max_length:
        raise RequestError(
            where="training.max_length",
            message=f"{split.ids[longest]} has {split.lengths[longest]} tokens",
            allowed=f"up to {max_length}",
            hint="format the data again with this training.max_length",
        )
