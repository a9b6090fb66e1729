"""Our tokens in the shape that LLaMA-Factory saves its own in: they are what it trains on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.records.writing import write_json
from tasks.training.collator import IGNORE_INDEX
from tasks.training.tokens import TokenSplit


def write_tokens(splits: tuple[TokenSplit, ...], folder: Path, *, only_prompts: bool) -> None:
    """Write tokenised splits as a `tokenized_path` of LLaMA-Factory.

    It neither renders nor cuts such data again: what it trains on is what hone has accounted for.

    Args:
        splits: The training examples and, where there are any, the validation examples.
        folder: Where to; what is there is replaced.
        only_prompts: Leave the last answer out, for a stage that writes the answers itself.
    """
    from datasets import Dataset, DatasetDict, disable_progress_bars
    from datasets.table import InMemoryTable

    disable_progress_bars()
    shutil.rmtree(folder, ignore_errors=True)
    rows = DatasetDict(
        {
            split.name: Dataset(InMemoryTable(make_table(split, only_prompts=only_prompts)))
            for split in splits
        }
    )
    rows.save_to_disk(str(folder))


def make_table(split: TokenSplit, *, only_prompts: bool = False) -> Any:
    """Return the tokens, labels and attention mask of a split as an Arrow table."""
    found = split.dataset.with_format("arrow")[:]
    tokens, labels = found["input_ids"], found["labels"]
    if only_prompts:
        rows = zip(tokens.to_pylist(), labels.to_pylist(), strict=True)
        tokens = pa.chunked_array([[ids[: find_answer(marked)] for ids, marked in rows]])
        labels = tokens
    mask = pa.chunked_array([_make_mask(chunk) for chunk in tokens.chunks])
    return pa.table({"input_ids": tokens, "attention_mask": mask, "labels": labels})


def find_answer(labels: list[int]) -> int:
    """Return where the last run of trained tokens begins.

    >>> find_answer([-100, 5, 6, -100, 7, 8, -100])
    4
    """
    is_trained = np.asarray(labels) != IGNORE_INDEX
    starts = np.flatnonzero(is_trained & ~np.concatenate([[False], is_trained[:-1]]))
    return int(starts[-1])


def write_dataset_info(formatted: Path, splits: tuple[TokenSplit, ...], folder: Path) -> None:
    """Write the `dataset_info.json` that describes the conversations behind the tokens.

    Args:
        formatted: The folder that formatting wrote; the conversations stay in it.
        splits: Those that are trained and validated on.
        folder: Where to; made when it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    info = {
        split.name: {
            "file_name": str(formatted / "examples" / f"{split.name}.jsonl"),
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "observation_tag": "tool",
                "system_tag": "system",
            },
        }
        for split in splits
    }
    write_json(folder / "dataset_info.json", info)


def _make_mask(tokens: Any) -> Any:
    """Return lists of ones, as long as the lists of tokens."""
    offsets = np.concatenate([[0], np.cumsum(tokens.value_lengths().to_numpy())])
    ones = np.ones(offsets[-1], dtype=np.int8)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(ones))
