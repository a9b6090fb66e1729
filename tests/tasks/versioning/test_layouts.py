from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from tasks.formatting.files.readers import is_readable, list_source_files, read_rows
from tasks.versioning.layouts import find_hub_splits, find_saved_splits
from tasks.versioning.snapshot import Snapshot, take_snapshot
from tasks.versioning.store import link_tree

ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "a"}]}
    for i in range(5)
]


def take(source: Path, blobs: Path, pattern: str | None = None) -> Snapshot:
    return take_snapshot(
        str(source), locate=Path, is_readable=is_readable, blobs=blobs, pattern=pattern,
        eval_sources={},
    )  # fmt: skip


def read(folder: Path) -> list[Any]:
    return [row for file in list_source_files(folder) for _, row in read_rows(file)]


def test_a_saved_dataset_is_training_data_in_its_order(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=3)
    (tmp_path / "saved" / "cache-1234.arrow").write_bytes(b"left behind by map")
    snapshot = take(tmp_path / "saved", tmp_path / "blobs")
    assert snapshot.passed_over == ("cache-1234.arrow", "dataset_info.json", "state.json")
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    order = [f"train/{part['filename']}" for part in state["_data_files"]]
    assert list(snapshot.tree) == order
    link_tree(snapshot.tree, tmp_path / "blobs", tmp_path / "laid")
    assert read(tmp_path / "laid" / "train") == ROWS


def test_the_splits_of_a_saved_dictionary_are_evaluation_sets(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    parts = {"train": ROWS[:2], "validation": ROWS[2:3], "test": ROWS[3:], "unsupervised": ROWS[:1]}
    saved = DatasetDict({name: Dataset.from_list(rows) for name, rows in parts.items()})
    saved.save_to_disk(tmp_path / "saved", num_shards=dict.fromkeys(parts, 1) | {"test": 2})
    snapshot = take(tmp_path / "saved", tmp_path / "blobs")
    link_tree(snapshot.tree, tmp_path / "blobs", tmp_path / "laid")
    assert sorted(p.name for p in (tmp_path / "laid" / "eval").iterdir()) == ["test", "validation"]
    assert read(tmp_path / "laid" / "train") == parts["train"]
    assert read(tmp_path / "laid" / "eval" / "test") == parts["test"]
    assert read(tmp_path / "laid" / "eval" / "validation") == parts["validation"]
    assert "unsupervised/data-00000-of-00001.arrow" in snapshot.passed_over
    assert "train/state.json" in snapshot.passed_over


def test_a_set_that_stands_twice_is_refused(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    both = {"train": Dataset.from_list(ROWS), "test": Dataset.from_list(ROWS)}
    DatasetDict(both).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "eval").mkdir()
    (tmp_path / "saved" / "eval" / "test.jsonl").write_text(json.dumps(ROWS[0]))
    with pytest.raises(RequestError, match="the set test stands in eval/ and is a split"):
        take(tmp_path / "saved", tmp_path / "blobs")


def test_other_files_are_no_saved_dataset() -> None:
    assert find_saved_splits(["train.jsonl", "state.json", "x/dataset_info.json"]) == {}
    names = ["a/state.json", "a/dataset_info.json", "a/data-00000-of-00001.arrow", "b.jsonl"]
    assert find_saved_splits(names) == dict(zip(names[:3], ["", "", "train"], strict=True))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.csv", "train"),
        ("test-suite/train.csv", "train"),
        ("data/validation-00000-of-00001.parquet", "validation"),
        ("en/dev.jsonl", "dev"),
        ("my_Test_file.json", "test"),
        ("default/test/0000.parquet", "test"),
        ("latest.csv", "train"),
        ("contest/rows.csv", "train"),
    ],
)
def test_splits_on_the_hub_are_told_by_words(name: str, split: str) -> None:
    assert find_hub_splits([name]) == {name: split}
