from __future__ import annotations

from pathlib import Path

import datasets

from tasks.formatting.conversion.exported_splits import export_split, read_example_rows
from tasks.formatting.rows.examples import (
    Example,
    Message,
    ToolCall,
    example_to_dict,
    write_examples,
)
from tasks.records.digests import digest_folder

EXAMPLES = (
    Example(
        id="a",
        group="g",
        messages=(
            Message("user", "Why?"),
            Message("assistant", "", tool_calls=(ToolCall("look", '{"at": 1}'),), is_trained=False),
            Message("tool", "here"),
            Message("assistant", "So."),
        ),
        text="",
        origin="train.jsonl:1",
        fields={"kind": "é", "level": 2},
        tools="[]",
    ),
    Example(id="b", group="b", messages=(), text="plain", origin="train.jsonl:2"),
)


def test_a_split_opens_with_load_from_disk(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    write_examples(file, EXAMPLES)
    num_rows = export_split(
        read_example_rows(file), tmp_path / "splits" / "train", name="train", digest="ab" * 32
    )
    opened = datasets.load_from_disk(str(tmp_path / "splits" / "train"))
    assert num_rows == len(opened) == 2
    assert opened.split == "train"
    first, second = opened
    assert [turn["content"] for turn in first["messages"]] == ["Why?", "", "here", "So."]
    assert first["messages"][1]["tool_calls"][0]["arguments"] == '{"at": 1}'
    assert [turn["is_trained"] for turn in first["messages"]] == [True, False, True, True]
    assert first["fields"] == '{"kind": "é", "level": 2}'
    assert (second["text"], second["messages"]) == ("plain", [])
    assert [p.name for p in (tmp_path / "splits").iterdir()] == ["train"]


def test_equal_examples_give_equal_files(tmp_path: Path) -> None:
    rows = [example_to_dict(example) for example in EXAMPLES]
    for name in ("one", "two"):
        export_split(rows, tmp_path / name, name="train", digest="cd" * 32)
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "two")


def test_an_empty_split_has_the_same_columns(tmp_path: Path) -> None:
    export_split([], tmp_path / "empty", name="dev", digest="0" * 64)
    export_split(map(example_to_dict, EXAMPLES), tmp_path / "full", name="dev", digest="1" * 64)
    empty, full = (datasets.load_from_disk(str(tmp_path / name)) for name in ("empty", "full"))
    assert len(empty) == 0
    assert empty.features == full.features
