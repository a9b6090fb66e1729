"""How many kept rows are nearly others, for a look at data in which nothing is filtered for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from tasks.formatting.cleaning.near_clusters import choose_first
from tasks.formatting.cleaning.near_duplicates import NUM_PERM, render_signed_text, sign_texts
from tasks.formatting.cleaning.near_pairs import Comparison, Signatures, find_near
from tasks.formatting.ledger import TRAIN
from tasks.formatting.rows.examples import example_from_dict
from tasks.records.writing import iterate_jsonl

BATCH_ROWS = 1000


@dataclass(frozen=True)
class NearRows:
    """Kept rows that are nearly other rows."""

    threshold: float
    """Least estimated share of common pieces (Jaccard) of two near rows."""
    num_training: int
    """Training rows that are nearly an earlier training row."""
    held_out: dict[str, int]
    """Training rows that are near a row of a set, by set."""


def count_near_rows(folder: Path, splits: list[str], threshold: float) -> NearRows:
    """Count the training rows that are nearly others.

    Args:
        folder: Holds `examples/<split>.jsonl`.
        splits: The splits, one of which is the training split.
        threshold: Least similarity of two near rows.

    Raises:
        RequestError: The rows are too much alike to be compared.
    """
    signatures = {split: sign_split(folder / "examples" / f"{split}.jsonl") for split in splits}
    return compare_splits(signatures, threshold)


def compare_splits(signatures: Mapping[str, Signatures], threshold: float) -> NearRows:
    """Count the training rows that are nearly others, by the signatures of each split."""
    ends = np.cumsum([len(found) for found in signatures.values()])
    rows = {
        split: np.arange(end - len(found), end)
        for (split, found), end in zip(signatures.items(), ends, strict=True)
    }
    nothing = np.zeros((0, NUM_PERM), np.uint32)
    comparison = Comparison(np.concatenate(list(signatures.values())), nothing, threshold)
    training = rows.pop(TRAIN)
    return NearRows(
        threshold,
        int((choose_first(comparison, training) >= 0).sum()),
        {split: int((find_near(comparison, training, r) >= 0).sum()) for split, r in rows.items()},
    )


def sign_split(path: Path) -> Signatures:
    """Return the signatures of stored examples; only a batch of their texts is held at a time."""
    texts = (render_signed_text(example_from_dict(row)) for row in iterate_jsonl(path))
    found = [np.zeros((0, NUM_PERM), np.uint32)]
    while batch := list(islice(texts, BATCH_ROWS)):
        found.append(sign_texts(batch))
    return np.concatenate(found)
