"""Undesired answers: kept for kto where a model learns, never where one is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from configs.schema import DataConfig
from tasks.formatting.build import format_data
from tasks.formatting.rows.examples import Example, Message, digest_example, read_examples
from tasks.records.writing import read_json

WriteSource = Callable[..., Path]


def test_undesired_answers_are_kept_for_training_alone(
    write_source: WriteSource, byte_level_tokenizer: Path, tmp_path: Path
) -> None:
    train = [{"prompt": f"Why {n}?", "completion": "So.", "label": n != 1} for n in range(4)]
    test = [{"prompt": f"How {n}?", "completion": "So.", "label": n != 1} for n in range(4)]
    source = write_source({"train/rows.jsonl": train, "eval/test/test.jsonl": test})
    result = format_data(
        source, tmp_path / "out",
        data=DataConfig(validation_fraction=0, test_fraction=0, undesired="keep"),
        tokenizer=byte_level_tokenizer, chat_template="chatml", max_length=512,
        assistant_only_loss=True,
    )  # fmt: skip
    rows = result.rows
    assert (rows.read, rows.kept, rows.filtered, rows.invalid) == (8, 7, 1, 0)
    assert read_json(tmp_path / "out" / "ledger.json")["filtered"] == {"undesired": 1}
    labels = {
        name: [e.label for e in read_examples(tmp_path / "out" / "examples" / f"{name}.jsonl")]
        for name in ("train", "test")
    }
    assert labels == {"train": [True, False, True, True], "test": [True, True, True]}


def test_a_label_belongs_to_the_digest_of_its_split() -> None:
    turns = (Message("user", "Why?"), Message("assistant", "So."))
    example = Example("1", "1", turns, "", "train.jsonl:1", label=True)
    digests = {digest_example(replace(example, label=label)) for label in (True, False, None)}
    assert len(digests) == 3
