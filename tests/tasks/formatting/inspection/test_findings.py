from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.formatting.cleaning.near_duplicates import sign_texts
from tasks.formatting.inspection.findings import MAX_VALUES, describe_data
from tasks.formatting.inspection.lengths import (
    list_splits,
    read_lengths,
    read_trained_lengths,
    summarize_lengths,
)
from tasks.formatting.inspection.near_report import NearRows, compare_splits
from tasks.formatting.inspection.page import add_inspection
from tasks.records.writing import write_json, write_jsonl

ROWS: dict[str, list[dict[str, Any]]] = {
    "test": [{"kind": "a", "labels": [-100, 5, 6]}],
    "train": [
        {"kind": "a", "labels": [-100, -100, 1]},
        {"kind": "b", "labels": [-100, 2]},
        {"labels": [-100, -100, -100, 3, 4]},
    ],
}


def save_tokens(folder: Path, labels: list[list[int]]) -> None:
    from datasets import Dataset

    rows = {"input_ids": [[7] * len(found) for found in labels], "labels": labels}
    Dataset.from_dict(rows).save_to_disk(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the format stage writes, in small."""
    for split, rows in ROWS.items():
        turns = [
            {"role": "system", "content": " "},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "So."},
        ]
        examples = [
            {"messages": turns, "text": "", "fields": {k: row[k] for k in row if k == "kind"}}
            for row in rows
        ]
        write_jsonl(tmp_path / "examples" / f"{split}.jsonl", examples)
        save_tokens(tmp_path / "tokens" / split, [row["labels"] for row in rows])
    counts = {"read": 8, "kept": 4, "invalid": 1, "filtered": 3, "cut": 0}
    filtered = {"duplicate": 1, "overlap": 2}
    write_json(
        tmp_path / "ledger.json",
        {"rows": counts, "invalid": {"broken_json": 1}, "filtered": filtered,
         "findings": {"email": 2}, "untrained_turns": 3},
    )  # fmt: skip
    ends = [("kept", "", "", "")] * 3 + [
        ("invalid", "broken_json", "broken JSON", ""),
        ("filtered", "duplicate", "repeats train.jsonl:1", "train"),
        ("filtered", "overlap", "has the prompt of test.jsonl:1 of test", "test"),
        ("filtered", "overlap", "has a prompt that was there", ""),
    ]
    entries = [
        {"source": "train", "origin": f"train.jsonl:{n}", "outcome": end, "reason": why,
         "detail": detail, "other_split": other}
        for n, (end, why, detail, other) in enumerate(ends, start=1)
    ]  # fmt: skip
    kept = {"source": "test", "origin": "test.jsonl:1", "outcome": "kept", "reason": ""}
    write_jsonl(tmp_path / "ledger.jsonl", [*entries, kept | {"detail": "", "other_split": ""}])
    (tmp_path / "data_report.md").write_text("# Data report\n\n## Rows\n\n8\n", encoding="utf-8")
    return tmp_path


def test_the_description_is_that_of_the_files(folder: Path) -> None:
    found = describe_data(folder)
    assert found.rows["read"] == 8
    assert found.splits == {"train": 3, "test": 1}
    assert found.roles == {"assistant": 4, "system": 4, "user": 4}
    assert found.num_empty_system_turns == 4
    assert found.untrained_turns == 3
    assert found.balance == {
        "a": {"train": 1, "test": 1}, "(none)": {"train": 1, "test": 0},
        "b": {"train": 1, "test": 0},
    }  # fmt: skip
    assert found.lengths["characters"]["train"].longest == 8
    assert found.lengths["tokens"]["train"].median == 3
    assert found.lengths["trained_tokens"]["train"].longest == 2
    assert found.trained_fraction == pytest.approx(4 / 10)
    assert found.leakage == {"an evaluation set": {"overlap": 1}, "test": {"overlap": 1}}
    assert found.duplicates == {"duplicate": 1, "near_duplicate": 0}
    assert found.findings == {"email": 2}
    assert found.evaluation_sets == ("test",)
    assert found.problems == ("train.jsonl:4: broken JSON",)
    assert sum(found_bin.count for found_bin in found.histogram) == 4


def test_near_rows_are_told_apart_from_filtered_ones(folder: Path) -> None:
    found = describe_data(folder, near=NearRows(0.8, 7, {"test": 3, "dev": 0}))
    assert found.duplicates["near_kept"] == 7
    assert found.leakage["test"] == {"overlap": 1, "near_kept": 3}
    assert "dev" not in found.leakage


def test_a_field_that_no_row_has_is_no_balance(folder: Path) -> None:
    assert describe_data(folder, by="missing").balance == {}


def test_a_field_with_many_values_is_counted_whole(folder: Path) -> None:
    rows = [{"messages": [], "text": "x", "fields": {"kind": f"value {n:03}"}} for n in range(70)]
    write_jsonl(folder / "examples" / "train.jsonl", rows)
    balance = describe_data(folder).balance
    assert len(balance) == MAX_VALUES + 1
    assert sum(counts["train"] for counts in balance.values()) == 70
    assert next(reversed(balance)) == "(other values: 21)"


def test_the_page_and_the_figures_are_written(folder: Path) -> None:
    add_inspection(folder, max_length=4, by="kind", remarks=["a remark"])
    page = (folder / "data_report.md").read_text(encoding="utf-8")
    assert page.startswith("# Data report\n\n## Warnings\n\n- a remark\n")
    assert page.index("## Rows\n\n8") < page.index("## Lengths in tokens")
    assert "| have a prompt of test (filtered) | 1 |" in page
    figures = json.loads((folder / "inspection.json").read_text(encoding="utf-8"))
    assert figures["warnings"][0] == "a remark"
    assert any("training.max_length is 4" in warning for warning in figures["warnings"])


def test_lengths_are_read_from_every_piece(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.formatting.inspection.lengths.ROWS_AT_A_TIME", 2)
    labels = [[-100] * (n % 5) + [1] * (n % 3) for n in range(11)]
    save_tokens(folder / "tokens" / "dev", labels)
    assert list_splits(folder) == ["train", "dev", "test"]
    assert read_lengths(folder)["dev"].tolist() == [len(row) for row in labels]
    assert read_trained_lengths(folder, "dev").tolist() == [n % 3 for n in range(11)]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=100))
def test_percentiles_are_lengths_that_occur(lengths: list[int]) -> None:
    found = summarize_lengths(np.array(lengths))
    assert {found.smallest, found.median, found.p90, found.p99, found.longest} <= set(lengths)
    assert found.smallest <= found.median <= found.p90 <= found.p99 <= found.longest
    assert sum(length <= found.p90 for length in lengths) >= 0.9 * len(lengths)


def test_near_rows_are_counted_by_set() -> None:
    text = "The members of the region are north, east, south and west, in this order"
    signatures = {
        "train": sign_texts(
            [text, f"{text}.", "Something else, of nearly the same length as that"]
        ),
        "test": sign_texts([f"{text}!", "Nothing of this stands anywhere in the training rows"]),
        "dev": sign_texts(["Nor does this, which is a sentence about nothing in particular"]),
    }
    assert compare_splits(signatures, 0.8) == NearRows(0.8, 1, {"test": 2, "dev": 0})
