from __future__ import annotations

import json
import unicodedata
from dataclasses import replace

import pytest

from configs.schema import DataConfig
from tasks.formatting.cleaning.row_cleaning import Cleaned, clean_example, needs_cleaning
from tasks.formatting.rows.conversations import Rejection
from tasks.formatting.rows.examples import Example, Message, ToolCall

MAIL = "ada@example.org"
DECOMPOSED = unicodedata.normalize("NFD", "Äpfel")


def make_example(*contents: str, **changes: object) -> Example:
    roles = ("user", "assistant") * len(contents)
    messages = tuple(map(Message, roles, contents))
    return replace(Example("", "group", messages, "", "train.jsonl:1"), **changes)


def clean(example: Example, *, is_training: bool = True, **data: object) -> Cleaned | Rejection:
    return clean_example(example, DataConfig.model_validate(data), is_training=is_training)


@pytest.mark.parametrize(
    "data",
    [{"unicode": "nfc"}, {"pii": "report"}, {"min_chars": 1}, {"max_chars": 1},
     {"quality": ["truncated_json"]}],
)  # fmt: skip
def test_each_rule_asks_for_cleaning(data: dict[str, object]) -> None:
    assert needs_cleaning(DataConfig.model_validate(data))


def test_by_default_nothing_is_looked_for_or_changed() -> None:
    example = make_example(f"{DECOMPOSED} {MAIL}", "[1,")
    assert not needs_cleaning(DataConfig())
    assert clean(example) == Cleaned(example)


def test_characters_are_composed_and_the_row_counted() -> None:
    cleaned = clean(make_example(DECOMPOSED, "So."), unicode="nfc")
    assert cleaned == Cleaned(make_example("Äpfel", "So."), ("unicode_nfc",))
    plain = make_example("Äpfel", "So.")
    assert clean(plain, unicode="nfc") == Cleaned(plain)


def test_personal_data_is_only_reported_when_that_is_asked_for() -> None:
    example = make_example(f"I am {MAIL}", "Call 415-555-2671.")
    assert clean(example, pii="report") == Cleaned(example, ("pii_email", "pii_phone"))


def test_personal_data_is_masked_in_every_part_of_a_row() -> None:
    arguments = f'{{"to": ["{MAIL}"], "card": 4111111111111111, "n": 1, "é": 1.50}}'
    call = ToolCall("send", arguments, "call_1")
    messages = (
        Message("system", f"Serve {MAIL}."),
        Message("user", f"Write to {MAIL}", name=MAIL),
        Message("assistant", "", tool_calls=(call,)),
    )
    example = Example(
        "", f"thread {MAIL}", messages, MAIL, "train.jsonl:1", {"from": MAIL, "n": 3},
        tools=json.dumps([{"name": "send", "default": MAIL}]),
        rejected=(Message("assistant", MAIL),), rejected_at=2,
    )  # fmt: skip
    cleaned = clean(example, pii="mask")
    assert isinstance(cleaned, Cleaned)
    assert cleaned.findings == ("pii_card", "pii_email")
    assert MAIL not in repr(cleaned)
    assert cleaned.example.messages[1] == Message("user", "Write to [EMAIL]", name="[EMAIL]")
    (masked,) = cleaned.example.messages[2].tool_calls
    assert masked.arguments == '{"to": ["[EMAIL]"], "card": "[CARD]", "n": 1, "é": 1.5}'
    assert json.loads(cleaned.example.tools) == [{"name": "send", "default": "[EMAIL]"}]
    assert cleaned.example.fields == {"from": "[EMAIL]", "n": 3}
    assert cleaned.example.rejected == (Message("assistant", "[EMAIL]"),)


def test_json_in_which_nothing_is_masked_stays_as_it_was_written() -> None:
    call = ToolCall("roll", '{"b":1.50,  "a":"\\u00e9"}')
    messages = (Message("user", MAIL), Message("assistant", "", tool_calls=(call,)))
    cleaned = clean(make_example(messages=messages), pii="mask")
    assert isinstance(cleaned, Cleaned)
    assert cleaned.example.messages[1] is messages[1]


def test_masked_groups_are_still_told_apart() -> None:
    groups = []
    for group in (MAIL, "grace@example.org", MAIL, "plain"):
        cleaned = clean(make_example("a", "b", group=group), pii="mask")
        assert isinstance(cleaned, Cleaned)
        groups.append(cleaned.example.group)
    assert groups[0] == groups[2] != groups[1]
    assert groups[0].startswith("[EMAIL] ")
    assert groups[3] == "plain"


def test_lengths_count_all_turns_but_the_system_turn() -> None:
    example = make_example("12345", "67890")
    example = replace(example, messages=(Message("system", "x" * 99), *example.messages))
    assert clean(example, min_chars=10, max_chars=10) == Cleaned(example)
    assert clean(example, min_chars=11) == Rejection(
        "too_short", "10 characters, data.min_chars is 11"
    )
    assert clean(example, max_chars=9) == Rejection(
        "too_long", "10 characters, data.max_chars is 9"
    )
    text = make_example(text="12345")
    assert isinstance(clean(text, max_chars=4), Rejection)


def test_quality_is_asked_of_answers_that_are_trained_on_and_of_texts() -> None:
    rules = ("repeated_lines", "repeated_ngrams", "truncated_json")
    assert clean(make_example("Why?", '{"a":'), quality=rules) == Rejection(
        "truncated_json", "JSON that ends early"
    )
    asked = make_example('{"a":', "So.")
    assert clean(asked, quality=rules) == Cleaned(asked)
    untrained = make_example(
        messages=(Message("assistant", '{"a":', is_trained=False), Message("assistant", "So."))
    )
    assert clean(untrained, quality=rules) == Cleaned(untrained)
    assert clean(make_example(text="line\n" * 9), quality=rules) == Rejection(
        "repeated_lines", "89% of it in repeated lines"
    )


def test_rows_of_evaluation_sets_are_masked_and_never_left_out() -> None:
    example = make_example(MAIL, '{"a":')
    cleaned = clean(example, is_training=False, pii="mask", max_chars=1, quality=["truncated_json"])
    assert cleaned == Cleaned(make_example("[EMAIL]", '{"a":'), ("pii_email",))
