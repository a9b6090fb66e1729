from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tasks.formatting.examples import (
    Example,
    Message,
    digest_examples,
    digest_prompt,
    digest_questions,
    read_examples,
    write_examples,
)

CONVERSATION = Example(
    "a1", "g", (Message("user", "Why?\u2028"), Message("assistant", "So. é")), "", "a.jsonl:1",
    {"kind": "x", "n": 3},
)  # fmt: skip
TEXT = Example("b2", "h", (), "some text", "a.txt:1")


def test_examples_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_examples(tmp_path / "examples" / "train.jsonl", [CONVERSATION, TEXT])
    assert read_examples(tmp_path / "examples" / "train.jsonl") == [CONVERSATION, TEXT]


def test_prompt_and_reference() -> None:
    assert CONVERSATION.prompt == CONVERSATION.messages[:1]
    assert CONVERSATION.reference == "So. é"
    assert (TEXT.prompt, TEXT.reference) == ((), "")


def test_the_digest_of_a_split_names_ids_groups_content_and_order() -> None:
    base = digest_examples([CONVERSATION, TEXT])
    assert base == digest_examples([replace(CONVERSATION, origin="b.jsonl:9", fields={}), TEXT])
    others = [replace(TEXT, id="x"), replace(TEXT, group="x"), replace(TEXT, text="x")]
    assert all(digest_examples([CONVERSATION, other]) != base for other in others)
    assert digest_examples([TEXT, CONVERSATION]) != base


def test_questions_are_the_same_in_another_order_or_with_a_system_turn() -> None:
    def ask(text: str, *before: Message, group: str = "g") -> Example:
        messages = (*before, Message("user", text), Message("assistant", "yes"))
        return Example(text, group, messages, "", origin="test.jsonl:1")

    first = [ask("a"), ask("b")]
    same = [ask("b", Message("system", "Be brief."), group="other"), ask("a")]
    assert digest_questions(first) == digest_questions(same)
    assert digest_questions(first) != digest_questions([ask("a"), ask("c")])


def test_a_prompt_is_the_same_in_other_white_space_and_system_turns_but_not_in_other_case() -> None:
    answer = Message("assistant", "So.")
    plain = digest_prompt((Message("user", "Why so?"), answer), "")
    system = Message("system", "Be brief.")
    assert plain == digest_prompt((system, Message("user", "Why  so?\n"), answer), "")
    assert plain != digest_prompt((Message("user", "why so?"), answer), "")
    assert plain != digest_prompt((), "Why so?")
