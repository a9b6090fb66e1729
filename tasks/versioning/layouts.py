"""Known layouts of data sets, by file names: `save_to_disk` folders, and splits on the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

TRAIN = "train"
# What `datasets` writes beside the rows of a saved split; with both, a folder is one.
SAVED_MARKS = ("state.json", "dataset_info.json")
SAVED_ROWS = ("data-*-of-*.arrow", "dataset.arrow")
SAVED_SPLITS = "dataset_dict.json"
# Words in file names by which the hub and `datasets` tell splits; `dev` is a set of its own here.
SPLIT_WORDS = {
    "train": TRAIN, "training": TRAIN, "test": "test", "testing": "test", "eval": "test",
    "evaluation": "test", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "dev",
}  # fmt: skip
WORD = re.compile(r"[^-._ 0-9]+")
HUB_FIGURES = "dataset_infos.json"


def find_saved_splits(names: Sequence[str]) -> dict[str, str]:
    """Return what the files of `save_to_disk` folders are for.

    Args:
        names: Paths below the source.

    Returns:
        `train` or a split's name for the files of rows, the empty text for those beside them. Files
        elsewhere are left out. Sorted by name, the files of a split are in the order of its state.

    >>> find_saved_splits(["state.json", "dataset_info.json", "data-00000-of-00001.arrow"])
    {'state.json': '', 'dataset_info.json': '', 'data-00000-of-00001.arrow': 'train'}
    """
    present = {PurePosixPath(name) for name in names}
    folders = {
        path.parent
        for path in present
        if all(path.parent / mark in present for mark in SAVED_MARKS)
    }
    found: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.parent in folders:
            is_rows = any(fnmatch(path.name, pattern) for pattern in SAVED_ROWS)
            is_split = path.parent.parent / SAVED_SPLITS in present
            found[name] = (path.parent.name if is_split else TRAIN) if is_rows else ""
        elif path.name == SAVED_SPLITS and any(f.parent == path.parent for f in folders):
            found[name] = ""
    return found


def find_hub_splits(names: Sequence[str]) -> dict[str, str]:
    """Return what the files of a hub data set are for, by the words in their names.

    The words of the file's name go before those of its folders. When some files are named as
    training data, files without such a word are none, as for `datasets`.

    Args:
        names: Paths below the source, of files that can hold rows.

    Returns:
        A split's name for each file, the empty text for those that belong to none.

    >>> find_hub_splits(["data/train-00000-of-00001.parquet", "data/test.parquet", "more.jsonl"])
    {'data/train-00000-of-00001.parquet': 'train', 'data/test.parquet': 'test', 'more.jsonl': ''}
    """
    found = {name: _find_word(name) for name in names}
    rest = "" if TRAIN in found.values() else TRAIN
    return {
        name: "" if PurePosixPath(name).name == HUB_FIGURES else split or rest
        for name, split in found.items()
    }


def _find_word(name: str) -> str:
    for part in reversed(PurePosixPath(name.lower()).parts):
        for word in WORD.findall(part):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return ""
