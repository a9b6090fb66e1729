"""What a row becomes once it is understood: an example, and how examples are stored."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.records.digests import digest_value
from tasks.records.writing import read_jsonl, write_jsonl

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """One understood row: a conversation, or a plain text."""

    id: str
    """Digest of the content, with a running number where the same content came before."""
    group: str
    """Rows of one group are never split apart, and the gate resamples groups."""
    messages: tuple[Message, ...]
    """The conversation, ending with an assistant turn; empty for a `text` row."""
    text: str
    """The text of a `text` row; empty for a conversation."""
    origin: str
    """File and line, such as `train.jsonl:17`."""
    fields: dict[str, Any] = field(default_factory=dict)
    """The other scalar values of the row, for figures by slice."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last assistant turn."""
        return self.messages[:-1]

    @property
    def reference(self) -> str:
        """The text of the last assistant turn; empty for a `text` row."""
        return self.messages[-1].content if self.messages else ""


def digest_content(messages: tuple[Message, ...], text: str) -> str:
    """Return the digest of what a row says, whatever else stands in it."""
    return digest_value({"messages": [[m.role, m.content] for m in messages], "text": text})


def normalise_text(text: str) -> str:
    r"""Return the text in NFC with every run of white space as one space.

    Case and punctuation stay: in code they carry meaning.

    >>> normalise_text(" What  is\n ROLL? ")
    'What is ROLL?'
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def digest_prompt(messages: Sequence[Message], text: str) -> str:
    """Return the digest of a row's prompt, normalised, system turns left out.

    Rows with equal prompts are one group by default, a training row must not have the prompt of
    an evaluation row, and no champion is tested on the prompts of its training. For a `text` row
    the whole text stands for the prompt.
    """
    prompt = [[m.role, normalise_text(m.content)] for m in messages[:-1] if m.role != "system"]
    return digest_value(prompt or normalise_text(text))


def digest_examples(examples: Iterable[Example]) -> str:
    """Return the digest of a split: ids, groups, messages and texts, in order."""
    return digest_value(
        [
            [example.id, example.group, digest_content(example.messages, example.text)]
            for example in examples
        ]
    )


def digest_questions(examples: Iterable[Example]) -> str:
    """Return the digest of what a test set asks, by which the gate counts its looks.

    The order of the rows, their groups and a system turn make no new questions of them.
    """
    return digest_value(
        sorted(
            digest_content(tuple(m for m in e.messages if m.role != "system"), e.text)
            for e in examples
        )
    )


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples as JSON lines, atomically."""
    write_jsonl(path, (asdict(example) for example in examples))


def read_examples(path: Path) -> list[Example]:
    """Return the examples that `write_examples` wrote."""
    return [
        Example(**{**row, "messages": tuple(Message(**message) for message in row["messages"])})
        for row in read_jsonl(path)
    ]
