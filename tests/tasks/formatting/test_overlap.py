from __future__ import annotations

import pytest

from configs.errors import RequestError
from tasks.formatting.examples import Example, Message
from tasks.formatting.ledger import LedgerEntry
from tasks.formatting.overlap import digest_prompt, filter_duplicates, resolve_overlap


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


def test_a_prompt_is_the_same_in_other_white_space_and_system_turns_but_not_in_other_case() -> None:
    answer = Message("assistant", "So.")
    plain = digest_prompt((Message("user", "Why so?"), answer), "")
    system = Message("system", "Be brief.")
    assert plain == digest_prompt((system, Message("user", "Why  so?\n"), answer), "")
    assert plain != digest_prompt((Message("user", "why so?"), answer), "")
    assert plain != digest_prompt((), "Why so?")
