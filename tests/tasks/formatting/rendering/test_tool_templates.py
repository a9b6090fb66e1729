"""What the built-in templates make of tools, calls and results, word for word."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from tasks.formatting.rendering.chat_templates import list_templates, list_tool_templates
from tasks.formatting.rendering.renderer import IGNORE_INDEX, Renderer, load_renderer
from tasks.formatting.rendering.turns import UnrenderableError
from tasks.formatting.rows.examples import Example, Message, ToolCall

TOOL = '{"type": "function", "function": {"name": "add", "parameters": {}}}'
ASK = (Message("system", "Be brief."), Message("user", "Add 1 and 2."))
CALL = Message("assistant", "", (ToolCall("add", '{"a": 1}', "call_abcDEF123"),))
TURNS = (
    *ASK,
    CALL,
    Message("tool", "3", tool_call_id="call_abcDEF123"),
    Message("assistant", "3."),
)
CHATML = (
    "<|im_start|>system\nBe brief.\n\n# Tools\n\nThese functions can be called:\n<tools>\n"
    f"{TOOL}\n</tools>\n\nWrite each call as JSON in these tags:\n<tool_call>\n"
    '{"name": NAME, "arguments": {...}}\n</tool_call><|im_end|>\n'
    "<|im_start|>user\nAdd 1 and 2.<|im_end|>\n<|im_start|>assistant\n"
    '«<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>»\n'
    "<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n"
    "<|im_start|>assistant\n«3.<|im_end|>»\n"
)
LLAMA_TOOL = """{
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {}
    }
}"""
EXPECTED = {
    "chatml": CHATML,
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\n\nBe brief."
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nThese functions can be called, by an "
    'answer that is JSON: {"name": NAME, "parameters": {...}}\n\n'
    f"{LLAMA_TOOL}\n\nAdd 1 and 2.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    '«{"name": "add", "parameters": {"a": 1}}<|eot_id|>»'
    "<|start_header_id|>ipython<|end_header_id|>\n\n3<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n«3.<|eot_id|>»",
    "mistral": f"<s>[AVAILABLE_TOOLS] [{TOOL}][/AVAILABLE_TOOLS][INST] Be brief.\n\nAdd 1 and 2."
    '[/INST]«[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}, "id": "abcDEF123"}]</s>»'
    '[TOOL_RESULTS] {"content": "3", "call_id": "abcDEF123"}[/TOOL_RESULTS]« 3.</s>»',
    "qwen": CHATML,
}


def mark(renderer: Renderer, example: Example) -> str:
    """Return the text of an example with each trained stretch in guillemets."""
    tokens = renderer.render_example(example)
    pairs = zip(tokens.input_ids, tokens.labels, strict=True)
    text = ""
    for is_trained, stretch in itertools.groupby(pairs, lambda pair: pair[1] != IGNORE_INDEX):
        part = renderer.tokenizer.decode([token_id for token_id, _ in stretch])
        text += f"«{part}»" if is_trained else part
    return text


@pytest.mark.parametrize("name", list_templates())
def test_the_templates_said_to_write_tools_are_those_that_do(
    name: str, byte_level_tokenizer: Path
) -> None:
    renderer = load_renderer(byte_level_tokenizer, name, "messages")
    example = Example("id", "group", TURNS, "", "a.jsonl:1", tools=f"[{TOOL}]")
    assert set(EXPECTED) == set(list_tool_templates())
    if name in EXPECTED:
        assert mark(renderer, example) == EXPECTED[name]
    else:
        with pytest.raises(UnrenderableError, match="chatml, llama3, mistral"):
            renderer.render_example(example)


@pytest.mark.parametrize("name", ["chatml", "llama3"])
def test_tools_without_a_system_turn_bring_one(name: str, byte_level_tokenizer: Path) -> None:
    renderer = load_renderer(byte_level_tokenizer, name, "messages")
    example = Example("id", "group", TURNS[1:], "", "a.jsonl:1", tools=f"[{TOOL}]")
    assert mark(renderer, example) == EXPECTED[name].replace("\n\nBe brief.", "").replace(
        "Be brief.\n\n", ""
    )


def test_a_first_turn_that_answers_nothing_is_not_trained_on(byte_level_tokenizer: Path) -> None:
    for name in ("alpaca", "chatml", "llama3", "qwen"):
        renderer = load_renderer(byte_level_tokenizer, name, "messages")
        turns = (Message("assistant", "Hello."), TURNS[1], Message("assistant", "3."))
        example = Example("id", "group", turns, "", "a.jsonl:1")
        assert re.findall("«(..)", mark(renderer, example)) == ["3."]
        assert renderer.render_example(example).untrained_turns == 1
