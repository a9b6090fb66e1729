from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tasks.formatting.rows.examples import (
    ROLES,
    Example,
    Message,
    ToolCall,
    digest_content,
    digest_examples,
    digest_prompt,
    digest_questions,
    example_to_dict,
    normalise_text,
    read_examples,
    write_examples,
)
from tasks.records.digests import digest_value

CONVERSATION = Example(
    "a1", "g", (Message("user", "Why?\u2028"), Message("assistant", "So. é")), "", "a.jsonl:1",
    {"kind": "x", "n": 3},
)  # fmt: skip
TEXT = Example("b2", "h", (), "some text", "a.txt:1")
CALLING = Example(
    "c3", "g",
    (
        Message("user", "Add.", name="Eva"),
        Message("assistant", "First this.", (ToolCall("add", '{"b": 1, "a": "é"}', "c1"),)),
        Message("tool", "3", tool_call_id="c1"),
        Message("assistant", "4", is_trained=False),
    ),
    "", "a.jsonl:2", tools='[{"type": "function"}]',
)  # fmt: skip
PREFERRING = replace(
    CONVERSATION, id="d4", rejected=(Message("assistant", "No."),), rejected_at=1, label=True
)


def test_examples_are_read_as_they_were_written(tmp_path: Path) -> None:
    examples = [CONVERSATION, TEXT, CALLING, PREFERRING]
    write_examples(tmp_path / "examples" / "train.jsonl", examples)
    assert read_examples(tmp_path / "examples" / "train.jsonl") == examples


def test_a_plain_conversation_is_stored_with_nothing_else() -> None:
    assert example_to_dict(CONVERSATION) == {
        "id": "a1",
        "group": "g",
        "messages": [
            {"role": "user", "content": "Why?\u2028"}, {"role": "assistant", "content": "So. é"},
        ],
        "text": "",
        "origin": "a.jsonl:1",
        "fields": {"kind": "x", "n": 3},
    }  # fmt: skip


def test_the_digest_of_a_plain_conversation_is_that_of_its_roles_and_texts() -> None:
    turns = [["user", "Why?\u2028"], ["assistant", "So. é"]]
    expected = digest_value({"messages": turns, "text": ""})
    assert digest_content(CONVERSATION.messages, "") == expected
    assert digest_prompt(CONVERSATION.messages, "") == digest_value([["user", "Why?"]])


def test_whatever_an_example_says_more_changes_its_digest() -> None:
    messages = CALLING.messages
    others = [
        digest_content(messages, ""),
        digest_content(messages, "", CALLING.tools),
        digest_content(messages, "", "", PREFERRING.rejected),
        digest_content((replace(messages[0], name=""), *messages[1:]), ""),
        digest_content((*messages[:1], replace(messages[1], tool_calls=()), *messages[2:]), ""),
        digest_content((*messages[:3], replace(messages[3], is_trained=True)), ""),
    ]
    assert len(set(others)) == len(others)


@given(st.lists(st.tuples(st.sampled_from(ROLES), st.text()), min_size=1), st.text())
def test_digests_are_those_of_the_json(turns: list[tuple[str, str]], text: str) -> None:
    messages = [Message(role, content) for role, content in turns]
    expected = digest_value({"messages": [list(turn) for turn in turns], "text": text})
    assert digest_content(messages, text) == expected


@given(st.text() | st.text(st.sampled_from(" \t\n\u00a0\u2003ae\u0301")))
def test_normalised_text_has_single_spaces(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    assert normalise_text(text) == " ".join(composed.split())


def test_half_a_character_has_a_digest_too() -> None:
    assert digest_content((), "\ud800") == digest_value({"messages": [], "text": "\ud800"})


def test_the_answer_is_the_last_turn_that_is_trained_on() -> None:
    assert CALLING.answer_at == 1
    assert CALLING.prompt == CALLING.messages[:1]
    assert CALLING.reference == 'First this.\n{"name": "add", "arguments": {"b": 1, "a": "é"}}'


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


def test_tools_and_weights_make_no_new_questions_or_prompts() -> None:
    trained = tuple(replace(turn, is_trained=True) for turn in CALLING.messages)
    for other in (replace(CALLING, tools=""), replace(CALLING, messages=trained)):
        assert digest_questions([other]) == digest_questions([CALLING])
    assert digest_questions([PREFERRING]) == digest_questions([CONVERSATION])
    follow_up = (*CALLING.messages[:3], Message("assistant", "4"))
    renamed = replace(
        follow_up[1], tool_calls=(ToolCall("add", follow_up[1].tool_calls[0].arguments, "x"),)
    )
    assert digest_prompt(follow_up, "") == digest_prompt(
        (follow_up[0], renamed, *follow_up[2:]), ""
    )
    silent = replace(follow_up[1], tool_calls=())
    assert digest_prompt(follow_up, "") != digest_prompt((follow_up[0], silent, *follow_up[2:]), "")


def test_a_prompt_is_the_same_in_other_white_space_and_system_turns_but_not_in_other_case() -> None:
    answer = Message("assistant", "So.")
    plain = digest_prompt((Message("user", "Why so?"), answer), "")
    system = Message("system", "Be brief.")
    assert plain == digest_prompt((system, Message("user", "Why  so?\n"), answer), "")
    assert plain != digest_prompt((Message("user", "why so?"), answer), "")
    assert plain != digest_prompt((), "Why so?")
