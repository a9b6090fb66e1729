from pathlib import Path
from typing import Any

import pytest

from tasks.formatting.rendering.renderer import Renderer, load_renderer
from tasks.formatting.rows.examples import Example, Message

TINY_BASE = Path(__file__).resolve().parents[3] / "data" / "tiny-base"


def make_example(number: int, prompt: str, answer: str, **fields: object) -> Example:
    messages = (Message("user", prompt), Message("assistant", answer))
    group = str(fields.pop("group", f"g{number}"))
    return Example(f"id{number}", group, messages, "", f"test.jsonl:{number}", dict(fields))


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return load_renderer(TINY_BASE, None, "messages")


@pytest.fixture(scope="session")
def tiny_base() -> Any:
    from tasks.training.models import load_base

    return load_base(TINY_BASE, dtype="float32")


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    questions = ["What does {} do?", "Explain {} in one short sentence, with an example.", "{}"]
    names = ["str.split", "len", "the with statement", "os.path.join", "yield", "dict.get", "abs"]
    pairs = [(question.format(name), name) for name in names for question in questions]
    return [
        make_example(number, prompt, f"It is {name}." if number % 3 else "Yes.", kind="explain")
        for number, (prompt, name) in enumerate(pairs, start=1)
    ]
