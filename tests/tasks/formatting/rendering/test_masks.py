"""The mask covers exactly the assistant's text and its end token, whatever stands in a row."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.formatting.ledger import LedgerEntry
from tasks.formatting.rendering.renderer import (
    IGNORE_INDEX,
    Renderer,
    TokenizedExample,
    load_renderer,
)
from tasks.formatting.rendering.turns import UnrenderableError
from tasks.formatting.rows.examples import Example, Message, ToolCall
from tasks.formatting.tokens.tokenizing import TokenizedRow, fit_length
from tests.tasks.formatting.rendering.conversing import (
    DIALECTS,
    TOOLS,
    Dialect,
    draw_conversation,
    list_trained,
)

NO_CHECKS = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
CALL = ToolCall("sum_up", '{"values": [1, 2]}', "abcDEF123")
ASKED = (Message("user", "Add 1 and 2."),)
CALLED = (*ASKED, Message("assistant", "", (CALL,)))


@pytest.fixture(scope="session", params=sorted(DIALECTS))
def spoken(request: pytest.FixtureRequest, byte_level_tokenizer: Path) -> tuple[Dialect, Renderer]:
    dialect = DIALECTS[request.param]
    return dialect, load_renderer(byte_level_tokenizer, dialect.template, "messages")


def make_example(messages: list[Message] | tuple[Message, ...], tools: str = "") -> Example:
    return Example("id", "group", tuple(messages), "", "a.jsonl:1", tools=tools)


def list_stretches(renderer: Renderer, tokens: TokenizedExample) -> list[str]:
    """Return the text of each trained stretch, end tokens included."""
    pairs = zip(tokens.input_ids, tokens.labels, strict=True)
    stretches = itertools.groupby(pairs, lambda pair: pair[1] != IGNORE_INDEX)
    return [
        renderer.tokenizer.decode([token_id for token_id, _ in pairs])
        for is_trained, pairs in stretches
        if is_trained
    ]


@given(st.data())
@NO_CHECKS
def test_the_mask_is_the_trained_turns_and_their_ends(
    spoken: tuple[Dialect, Renderer], data: st.DataObject
) -> None:
    dialect, renderer = spoken
    messages, tools = data.draw(draw_conversation(dialect))
    example = make_example(messages, tools)
    tokens = renderer.render_example(example)
    expected = list_trained(dialect, messages, tools)
    assert list_stretches(renderer, tokens) == expected
    assert len(tokens.trained_ends) == len(expected)
    end = renderer.tokenizer.convert_tokens_to_ids(dialect.end)
    assert all(tokens.input_ids[i] == tokens.labels[i] == end for i in tokens.trained_ends)
    num_meant = sum(turn.role == "assistant" and turn.is_trained for turn in messages)
    assert tokens.untrained_turns == num_meant - len(expected)

    prompt = renderer.render_prompt(example)
    assert tokens.input_ids[: len(prompt)] == prompt
    answer = tokens.input_ids[len(prompt) : tokens.trained_ends[-1] + 1]
    assert renderer.decode(answer) == renderer.render_reference(example)


@given(st.data())
@NO_CHECKS
def test_a_cut_leaves_every_trained_turn_whole_or_the_row_out(
    spoken: tuple[Dialect, Renderer], data: st.DataObject
) -> None:
    dialect, renderer = spoken
    messages, tools = data.draw(draw_conversation(dialect))
    example = make_example(messages, tools)
    tokens = renderer.render_example(example)
    num_tokens = len(tokens.input_ids)
    lengths = st.integers(max(1, num_tokens - 5), num_tokens) | st.integers(1, num_tokens)
    max_length = data.draw(lengths)
    entry = LedgerEntry("train", "a.jsonl:1", "kept", split="train")
    row = fit_length(TokenizedRow(entry, example, tokens), max_length, "cut")
    if tokens.trained_ends[-1] >= max_length:
        assert (row.tokens, row.entry.reason) == (None, "overlong")
    else:
        assert row.tokens
        assert len(row.tokens.input_ids) == min(num_tokens, max_length)
        assert list_stretches(renderer, row.tokens) == list_trained(dialect, messages, tools)


@given(st.data())
@NO_CHECKS
def test_a_turn_of_the_weight_0_is_trained_on_in_no_way(
    spoken: tuple[Dialect, Renderer], data: st.DataObject
) -> None:
    dialect, renderer = spoken
    messages, tools = data.draw(draw_conversation(dialect))
    tokens = renderer.render_example(make_example(messages, tools), assistant_only_loss=False)
    untrained = sum(label == IGNORE_INDEX for label in tokens.labels)
    end = max(i for i, m in enumerate(messages) if m.role == "assistant" and m.is_trained)
    if any(m.role == "assistant" and not m.is_trained for m in messages[:end]):
        assert untrained > 1 or dialect.moves_prefix
    else:
        assert untrained == 1


@pytest.mark.parametrize("name", sorted(n for n, d in DIALECTS.items() if d.has_tools))
def test_a_tool_call_is_the_reference_in_the_template_s_words(
    byte_level_tokenizer: Path, name: str
) -> None:
    dialect = DIALECTS[name]
    renderer = load_renderer(byte_level_tokenizer, dialect.template, "messages")
    example = make_example(CALLED, TOOLS)
    assert example.reference == '{"name": "sum_up", "arguments": {"values": [1, 2]}}'
    written = dialect.write_answer(CALLED[-1]).removesuffix(dialect.end)
    assert renderer.render_reference(example) == written.replace("[TOOL_CALLS] ", "")


@pytest.mark.parametrize(
    ("name", "messages", "tools", "lost"),
    [
        ("gemma", (*ASKED, Message("assistant", "3")), TOOLS, "the tools of the row"),
        ("gemma", CALLED, "", 'the call of "sum_up" of turn 1'),
        ("alpaca", CALLED, TOOLS, "the tools of the row"),
        (
            "llama3", (*ASKED, Message("assistant", "So.", (CALL,))), TOOLS,
            "the text beside the tool calls of turn 1",
        ),
        (
            "mistral", (*ASKED, Message("assistant", "So.", (CALL,))), TOOLS,
            "the text beside the tool calls of turn 1",
        ),
    ],
)  # fmt: skip
def test_a_template_that_would_lose_tools_is_refused(
    byte_level_tokenizer: Path, name: str, messages: tuple[Message, ...], tools: str, lost: str
) -> None:
    renderer = load_renderer(byte_level_tokenizer, DIALECTS[name].template, "messages")
    with pytest.raises(
        UnrenderableError, match=f"does not write {lost}; .*tools: chatml, llama3, mistral, qwen"
    ):
        renderer.render_example(make_example(messages, tools))


def test_a_prompt_with_tools_that_would_be_lost_is_refused(byte_level_tokenizer: Path) -> None:
    renderer = load_renderer(byte_level_tokenizer, "alpaca", "messages")
    with pytest.raises(UnrenderableError, match="does not write the tools"):
        renderer.encode_prompt(ASKED, TOOLS)


def test_a_conversation_ends_with_its_last_trained_turn(byte_level_tokenizer: Path) -> None:
    renderer = load_renderer(byte_level_tokenizer, "chatml", "messages")
    turns = (*ASKED, Message("assistant", "3"))
    ignored = (Message("user", "And?"), Message("assistant", "No.", is_trained=False))
    whole, short = make_example((*turns, *ignored)), make_example(turns)
    assert (whole.prompt, whole.reference) == (ASKED, "3")
    assert renderer.render_example(whole) == renderer.render_example(short)
    assert renderer.render_prompt(whole) == renderer.render_prompt(short)
