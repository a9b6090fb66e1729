"""Our tokens as LLaMA-Factory reads its own: the same rows, nothing added, nothing cut."""

from __future__ import annotations

import json
from pathlib import Path

from datasets import load_from_disk

from tasks.training.engines.llamafactory.data import (
    find_answer,
    make_table,
    write_dataset_info,
    write_tokens,
)
from tasks.training.tokens import TokenSplit, open_split


def open_both(formatted: Path) -> tuple[TokenSplit, TokenSplit]:
    train, validation = open_split(formatted, "train"), open_split(formatted, "validation")
    assert train
    assert validation
    return train, validation


def test_tokens_are_ours(formatted: Path, tmp_path: Path) -> None:
    splits = open_both(formatted)
    write_tokens(splits, tmp_path / "tokens", only_prompts=False)
    written = load_from_disk(str(tmp_path / "tokens"))
    assert sorted(written) == ["train", "validation"]
    for split in splits:
        rows = written[split.name]
        assert rows["input_ids"][:] == split.dataset["input_ids"][:]
        assert rows["labels"][:] == split.dataset["labels"][:]
        assert [len(mask) for mask in rows["attention_mask"]] == split.lengths
        assert all(set(mask) == {1} for mask in rows["attention_mask"])


def test_tokens_are_written_anew(formatted: Path, tmp_path: Path) -> None:
    train, validation = open_both(formatted)
    write_tokens((train, validation), tmp_path / "tokens", only_prompts=False)
    write_tokens((train,), tmp_path / "tokens", only_prompts=False)
    assert list(load_from_disk(str(tmp_path / "tokens"))) == ["train"]


def test_rows_of_several_files_and_slices_keep_their_masks(formatted: Path) -> None:
    from datasets import concatenate_datasets

    train, validation = open_both(formatted)
    both = concatenate_datasets([train.dataset.select(range(3, 9)), validation.dataset])
    table = make_table(TokenSplit("train", both))
    assert [len(m) for m in table["attention_mask"].to_pylist()] == [
        len(ids) for ids in both["input_ids"]
    ]


def test_prompts_end_where_the_answer_begins(formatted: Path) -> None:
    train, _ = open_both(formatted)
    prompts = make_table(train, only_prompts=True)["input_ids"].to_pylist()
    for prompt, row in zip(prompts, train.dataset, strict=True):
        assert row["input_ids"][: len(prompt)] == prompt
        assert set(row["labels"][: len(prompt)]) == {-100}
        assert row["labels"][len(prompt)] != -100


def test_last_answer_of_several_is_found() -> None:
    assert find_answer([1, 2, -100, 3]) == 3
    assert find_answer([1, 2]) == 0


def test_dataset_info_names_the_conversations(formatted: Path, tmp_path: Path) -> None:
    write_dataset_info(formatted, open_both(formatted), tmp_path / "data")
    info = json.loads((tmp_path / "data" / "dataset_info.json").read_text())
    assert sorted(info) == ["train", "validation"]
    for entry in info.values():
        row = json.loads(Path(entry["file_name"]).read_text().splitlines()[0])
        message = row[entry["columns"]["messages"]][0]
        assert message[entry["tags"]["role_tag"]] == entry["tags"]["user_tag"]
        assert message[entry["tags"]["content_tag"]]
