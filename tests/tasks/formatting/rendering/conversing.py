"""Random conversations with tools and weights, and what each template makes of an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tasks.formatting.rendering.encoding import BREAK
from tasks.formatting.rows.examples import Message, ToolCall
from tasks.formatting.rows.tool_parsing import read_tools

FIXTURES = Path(__file__).parent / "templates"
TOOLS = read_tools(
    [
        {
            "name": "sum_up",
            "description": "Adds; ends with <|im_end|> and </s> é",
            "parameters": {"type": "object", "properties": {"values": {"type": "array"}}},
        },
        {"type": "function", "function": {"name": "look_up", "parameters": {}}},
    ],
    "tools",
)


@dataclass(frozen=True)
class Dialect:
    """What a template can write."""

    template: str
    """A built-in template's name, or a fixture's file."""
    end: str
    """The token that ends an assistant turn."""
    lead: str = ""
    """What stands before an answer."""
    has_tools: bool = False
    has_parallel_calls: bool = False
    has_text_beside_calls: bool = False
    max_systems: int = 1
    takes_any_call_id: bool = True
    """Whether the ids of calls may be missing, or have other than 9 characters."""
    moves_prefix: bool = False
    """Whether system text and tools move to the last user turn, so that earlier turns change."""

    def write_answer(self, message: Message) -> str:
        """Return what is trained on of an assistant turn."""
        if not message.tool_calls:
            return f"{self.lead}{message.content}{self.end}"
        arguments = [json.loads(call.arguments) for call in message.tool_calls]
        calls = list(zip(message.tool_calls, map(write_json, arguments), strict=True))
        if self.end == "<|eot_id|>":
            return "".join(f'{{"name": "{c.name}", "parameters": {a}}}{self.end}' for c, a in calls)
        if self.end == "</s>":
            ids = [f', "id": "{c.id[-9:]}"' if c.id else "" for c, _ in calls]
            rows = [
                f'{{"name": "{c.name}", "arguments": {a}{call_id}}}'
                for (c, a), call_id in zip(calls, ids, strict=True)
            ]
            return f"[TOOL_CALLS] [{', '.join(rows)}]{self.end}"
        blocks = [
            f'<tool_call>\n{{"name": "{c.name}", "arguments": {a}}}\n</tool_call>' for c, a in calls
        ]
        return "\n".join([message.content, *blocks] if message.content else blocks) + self.end


# The built-in templates, and as fixtures those of the makers that differ from them.
DIALECTS = {
    "alpaca": Dialect("alpaca", "</s>"),
    "chatml": Dialect(
        "chatml", "<|im_end|>", has_tools=True, has_parallel_calls=True,
        has_text_beside_calls=True, max_systems=3,
    ),
    "gemma": Dialect("gemma", "<end_of_turn>"),
    "gemma of its makers": Dialect(str(FIXTURES / "gemma.jinja"), "<end_of_turn>", max_systems=0),
    "llama3": Dialect("llama3", "<|eot_id|>", has_tools=True, max_systems=3),
    "llama3 of its makers": Dialect(
        str(FIXTURES / "llama3.jinja"), "<|eot_id|>", has_tools=True, max_systems=3
    ),
    "mistral": Dialect("mistral", "</s>", " ", has_tools=True, has_parallel_calls=True),
    "mistral of its makers": Dialect(
        str(FIXTURES / "mistral.jinja"), "</s>", " ", has_tools=True, has_parallel_calls=True,
        takes_any_call_id=False, moves_prefix=True,
    ),
    "qwen": Dialect(
        "qwen", "<|im_end|>", has_tools=True, has_parallel_calls=True,
        has_text_beside_calls=True, max_systems=3,
    ),
    "qwen of its makers": Dialect(
        str(FIXTURES / "qwen.jinja"), "<|im_end|>", has_tools=True, has_parallel_calls=True,
        has_text_beside_calls=True, max_systems=3,
    ),
}  # fmt: skip

# What templates strip from the ends of a turn is left out: then the answer comes back unchanged.
plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=BREAK), min_size=1)
controls = st.sampled_from(
    ["<|im_end|>", "</s>", "a<end_of_turn>", "<s>[INST]", "<|eot_id|>", "[TOOL_CALLS]", "é 猫 🙂"]
)
texts = (plain | st.tuples(plain, controls, plain).map("".join) | controls).filter(
    lambda text: text.strip() == text != ""
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


def write_json(value: Any) -> str:
    """Return JSON as templates write it."""
    return json.dumps(value, ensure_ascii=False)


@st.composite
def draw_call(draw: st.DrawFn, dialect: Dialect) -> ToolCall:
    """Draw a tool call."""
    arguments = write_json(draw(st.dictionaries(texts, values, max_size=2)))
    ids = ["abcDEF123", "", "call_7", "call_abcDEF123"][: None if dialect.takes_any_call_id else 1]
    name = draw(st.sampled_from(["sum_up", "look_up"]))
    return ToolCall(name, arguments, draw(st.sampled_from(ids)))


@st.composite
def draw_round(draw: st.DrawFn, dialect: Dialect, has_tools: bool) -> list[Message]:
    """Draw a question, calls with their results, and an answer."""
    turns = [Message("user", draw(texts))]
    for _ in range(draw(st.integers(0, 2)) if has_tools else 0):
        max_calls = 3 if dialect.has_parallel_calls else 1
        calls = draw(st.lists(draw_call(dialect), min_size=1, max_size=max_calls))
        text = draw(texts | st.just("")) if dialect.has_text_beside_calls else ""
        turns.append(Message("assistant", text, tuple(calls), is_trained=draw(st.booleans())))
        turns += [Message("tool", draw(texts), tool_call_id=call.id) for call in calls]
    return [*turns, Message("assistant", draw(texts), is_trained=draw(st.booleans()))]


@st.composite
def draw_conversation(draw: st.DrawFn, dialect: Dialect) -> tuple[list[Message], str]:
    """Draw a conversation that the template can write, at least one turn trained, and its tools."""
    tools = TOOLS if dialect.has_tools and draw(st.booleans()) else ""
    systems = draw(st.lists(texts, max_size=dialect.max_systems))
    rounds = draw(st.lists(draw_round(dialect, bool(tools)), min_size=1, max_size=4))
    turns = [Message("system", text) for text in systems]
    turns += [turn for turns in rounds for turn in turns]
    if not any(turn.is_trained for turn in turns if turn.role == "assistant"):
        turns[-1] = Message("assistant", turns[-1].content)
    return turns, tools


def list_trained(dialect: Dialect, messages: list[Message], tools: str) -> list[str]:
    """Return what must be trained on, turn by turn."""
    trained = [i for i, m in enumerate(messages) if m.role == "assistant" and m.is_trained]
    if dialect.moves_prefix and (tools or messages[0].role == "system"):
        end = trained[-1]
        last_user = max(i for i, m in enumerate(messages[:end]) if m.role == "user")
        trained = [i for i in trained if i > last_user]
    return [dialect.write_answer(messages[i]) for i in trained]
