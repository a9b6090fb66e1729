from __future__ import annotations

from dataclasses import replace

import pytest

from configs.errors import RequestError
from tasks.formatting.examples import Example, Message
from tasks.formatting.ledger import LedgerEntry
from tasks.formatting.overlap import filter_duplicates, resolve_overlap


def make_entry(
    source: str, line: int, prompt: str, answer: str = "So.", split: str = ""
) -> LedgerEntry:
    messages = (Message("user", prompt), Message("assistant", answer))
    origin = f"{source}.jsonl:{line}"
    example = Example(f"{source}{line}", prompt, messages, "", origin)
    return LedgerEntry(source, origin, "kept", example, split=split)


def test_only_exact_repeats_in_training_are_duplicates() -> None:
    entries = filter_duplicates(
        [
            make_entry("train", 1, "Why?"),
            make_entry("train", 2, "Why?", "Other."),
            make_entry("train", 3, "Why?"),
            make_entry("test", 1, "Why?"),
        ]
    )
    assert [entry.outcome for entry in entries] == ["kept", "kept", "filtered", "kept"]
    assert (entries[2].reason, entries[2].detail) == ("duplicate", "repeats train.jsonl:1")


def test_a_training_row_with_a_test_prompt_is_an_error_by_default() -> None:
    entries = [make_entry("train", 4, " Why \n so? "), make_entry("test", 2, "Why so?", "Other.")]
    with pytest.raises(RequestError) as caught:
        resolve_overlap(entries, "error")
    assert "the prompts of 1 training rows stand in evaluation sets" in str(caught.value)
    assert "train.jsonl:4: has the prompt of test.jsonl:2 of test" in str(caught.value)


def test_overlapping_training_rows_can_be_filtered() -> None:
    entries = [make_entry("train", 1, "Why?"), make_entry("train", 2, "Who?")]
    result = resolve_overlap([*entries, make_entry("dev", 1, "Why?")], "filter")
    assert [entry.outcome for entry in result] == ["filtered", "kept", "kept"]
    assert result[0].reason == "overlap"


def test_after_the_split_a_split_off_set_counts_as_evaluation() -> None:
    entries = [
        make_entry("train", 1, "Why?", split="train"),
        make_entry("train", 2, "Why?", split="test"),
    ]
    result = resolve_overlap(entries, "filter")
    assert [(entry.outcome, entry.split) for entry in result] == [
        ("filtered", ""),
        ("kept", "test"),
    ]


@pytest.fixture
def grouped() -> list[LedgerEntry]:
    entries = [make_entry("train", 1, "Why?"), make_entry("train", 2, "Who?"),
               make_entry("test", 1, "How?")]  # fmt: skip
    groups = ["one", "two", "one"]
    return [
        replace(entry, example=replace(entry.example, group=group))
        for entry, group in zip(entries, groups, strict=True)
        if entry.example
    ]


def test_a_training_row_of_a_group_in_an_evaluation_set_is_an_error_by_default(
    grouped: list[LedgerEntry],
) -> None:
    with pytest.raises(RequestError) as caught:
        resolve_overlap(grouped, "error")
    assert "the groups (data.group_by) of 1 training rows stand in" in str(caught.value)
    assert 'train.jsonl:1: is of the group "one", as is test.jsonl:1 of test' in str(caught.value)
    both = [*grouped, make_entry("train", 3, "How?")]
    with pytest.raises(RequestError, match=r"prompts or groups \(data.group_by\) of 2 training"):
        resolve_overlap(both, "error")


def test_training_rows_of_a_held_out_group_can_be_filtered(grouped: list[LedgerEntry]) -> None:
    result = resolve_overlap(grouped, "filter")
    assert [(entry.outcome, entry.reason) for entry in result] == [
        ("filtered", "overlap_group"), ("kept", ""), ("kept", ""),
    ]  # fmt: skip
