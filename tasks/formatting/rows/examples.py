"""What a row becomes once it is understood: an example, and how examples are stored."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

import orjson

from tasks.formatting.rows.frozen_records import frozen_record
from tasks.formatting.rows.messages import (
    PLAIN_KEYS,
    ROLES,
    Message,
    ToolCall,
    find_answer,
    is_plain,
    message_from_dict,
    message_to_dict,
)
from tasks.records.digests import digest_bytes, digest_value
from tasks.records.writing import iterate_jsonl, write_jsonl

__all__ = [
    "ROLES", "Example", "Message", "ToolCall", "digest_content", "digest_example",
    "digest_examples", "digest_prompt", "digest_questions", "example_from_dict", "example_to_dict",
    "find_answer", "iter_examples", "message_from_dict", "message_to_dict", "normalise_text",
    "read_examples", "write_examples",
]  # fmt: skip

# The white space in ASCII beside the space.
CONTROL_SPACES = b"\t\n\v\f\r\x1c\x1d\x1e\x1f"


@frozen_record
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
    tools: str = ""
    """The tools that may be called, as a JSON list of schemas; empty when there are none."""
    rejected: tuple[Message, ...] = ()
    """The turns that a preference row rejects; they follow `messages[:rejected_at]`."""
    rejected_at: int = 0
    """The number of messages that the chosen and the rejected turns have in common."""
    label: bool | None = None
    """Whether the answer is desired, for rows that say so (`kto`)."""

    @property
    def answer_at(self) -> int:
        """The place of the answer in `messages`: the last assistant turn that is trained on."""
        return find_answer(self.messages)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the answer."""
        return self.messages[: self.answer_at] if self.messages else ()

    @property
    def reference(self) -> str:
        """What the answer says, tool calls as lines of JSON; empty for a `text` row."""
        return self.messages[self.answer_at].readable if self.messages else ""


def example_to_dict(example: Example) -> dict[str, Any]:
    """Return an example as a JSON object; what a plain conversation does not have is left out."""
    row: dict[str, Any] = {
        "id": example.id,
        "group": example.group,
        "messages": [message_to_dict(message) for message in example.messages],
        "text": example.text,
        "origin": example.origin,
        "fields": example.fields,
    }
    if example.tools:
        row["tools"] = example.tools
    if example.rejected:
        row["rejected"] = [message_to_dict(message) for message in example.rejected]
        row["rejected_at"] = example.rejected_at
    if example.label is not None:
        row["label"] = example.label
    return row


def example_from_dict(row: dict[str, Any]) -> Example:
    """Return the example that `example_to_dict` wrote."""
    turns: dict[str, Any] = {
        key: tuple(message_from_dict(message) for message in row[key])
        for key in ("messages", "rejected")
        if key in row
    }
    return Example(**{**row, **turns})


def digest_content(
    messages: Sequence[Message],
    text: str,
    tools: str = "",
    rejected: Sequence[Message] = (),
) -> str:
    """Return the digest of what a row says, whatever else stands in it."""
    content: dict[str, Any] = {
        "messages": [_list_content(message) for message in messages],
        "text": text,
    }
    if tools:
        content["tools"] = tools
    if rejected:
        content["rejected"] = [_list_content(message) for message in rejected]
    return _digest_texts(content)


def normalise_text(text: str) -> str:
    r"""Return the text in NFC with every run of white space as one space.

    Case and punctuation stay: in code they carry meaning.

    >>> normalise_text(" What  is\n ROLL? ")
    'What is ROLL?'
    """
    text = unicodedata.normalize("NFC", text).strip()
    if "  " not in text and _has_no_other_space(text):
        return text
    return " ".join(text.split())


def digest_prompt(messages: Sequence[Message], text: str) -> str:
    """Return the digest of a row's prompt, normalised, system turns and tools left out.

    Rows with equal prompts are one group by default, a training row must not have the prompt of
    an evaluation row, and no champion is tested on the prompts of its training. For a `text` row
    the whole text stands for the prompt.
    """
    prompt = [
        _list_question(message)
        for message in messages[: find_answer(messages)]
        if message.role != "system"
    ]
    return _digest_texts(prompt or normalise_text(text))


def digest_example(example: Example) -> bytes:
    """Return the 32 bytes that an example adds to the digest of its split."""
    content = digest_content(example.messages, example.text, example.tools, example.rejected)
    parts: list[Any] = [example.id, example.group, content]
    if example.label is not None:
        parts.append(example.label)
    return bytes.fromhex(_digest_texts(parts))


def digest_examples(examples: Iterable[Example]) -> str:
    """Return the digest of a split: ids, groups and what the rows say, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(digest_example(example))
    return digest.hexdigest()


def digest_questions(examples: Iterable[Example]) -> str:
    """Return the digest of what a test set asks, by which the gate counts its looks.

    The order of the rows, their groups, a system turn, tools, weights or rejected answers make no
    new questions of them.
    """
    return digest_value(sorted(digest_content(_list_asked(e), e.text) for e in examples))


def _has_no_other_space(text: str) -> bool:
    """Return whether the space is a text's only white space, as in most texts of one line."""
    if text.isascii():  # takes a third of the time of `isprintable`
        return len(text.encode().translate(None, CONTROL_SPACES)) == len(text)
    return text.isprintable()  # the only white space that is printable is the space


def _digest_texts(value: Any) -> str:
    """Return what `digest_value` returns for a value without numbers, several times as fast."""
    try:
        return digest_bytes(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
    except TypeError:  # half a character, which UTF-8 cannot say
        return digest_value(value)


def _list_content(message: Message) -> list[Any]:
    plain = [message.role, message.content]
    if is_plain(message):
        return plain
    row = message_to_dict(message)
    return [*plain, {key: row[key] for key in row if key not in PLAIN_KEYS}]


def _list_question(message: Message) -> list[Any]:
    plain = [message.role, normalise_text(message.content)]
    if not message.tool_calls:
        return plain
    return [*plain, *([call.name, call.arguments] for call in message.tool_calls)]


def _list_asked(example: Example) -> list[Message]:
    spoken = [message for message in example.messages if message.role != "system"]
    return [m if m.is_trained else replace(m, is_trained=True) for m in spoken]


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples as JSON lines, atomically."""
    write_jsonl(path, map(example_to_dict, examples))


def read_examples(path: Path) -> list[Example]:
    """Return the examples that `write_examples` wrote."""
    return list(iter_examples(path))


def iter_examples(path: Path) -> Iterator[Example]:
    """Read the examples that `write_examples` wrote, one at a time."""
    return map(example_from_dict, iterate_jsonl(path))
