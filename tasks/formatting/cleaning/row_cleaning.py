"""Cleaning a row by the rules that the config asks for: what it finds, changes and leaves out."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from configs.schema import DataConfig
from tasks.formatting.cleaning.pii import mask_pii
from tasks.formatting.cleaning.quality import find_flaw
from tasks.formatting.rows.conversations import Rejection
from tasks.formatting.rows.examples import Example, Message

Rewrite = Callable[[str], str]


@dataclass(frozen=True)
class Cleaned:
    """A row that stays."""

    example: Example
    findings: tuple[str, ...] = ()
    """What was found in it, to count rows by: `unicode_nfc`, `pii_email`, `pii_key`, ..."""


def needs_cleaning(data: DataConfig) -> bool:
    """Return whether any rule is on."""
    return bool(
        data.unicode != "keep"
        or data.pii != "off"
        or data.min_chars
        or data.max_chars
        or data.quality
    )


def clean_example(
    example: Example, data: DataConfig, *, is_training: bool = True
) -> Cleaned | Rejection:
    """Normalise and mask a row, then hold it against the limits and the quality rules.

    Rows of evaluation sets are normalised and masked as those of training, so that both are
    rendered alike, and never left out.

    Args:
        example: The understood row.
        data: The rules.
        is_training: Whether the row comes with the training rows.
    """
    findings: set[str] = set()
    if data.unicode == "nfc":
        example = _normalise(example, findings)
    if data.pii != "off":
        example = _look_for_pii(example, findings, is_masked=data.pii == "mask")
    if is_training and (rejection := check_length(example, data) or check_quality(example, data)):
        return rejection
    return Cleaned(example, tuple(sorted(findings)))


def check_length(example: Example, data: DataConfig) -> Rejection | None:
    """Return why a row is too short or too long in characters; system turns do not count."""
    if not data.min_chars and not data.max_chars:
        return None
    turns = [message.readable for message in example.messages if message.role != "system"]
    chars = sum(map(len, turns)) + len(example.text)
    if chars < data.min_chars:
        return Rejection("too_short", f"{chars} characters, data.min_chars is {data.min_chars}")
    if data.max_chars and chars > data.max_chars:
        return Rejection("too_long", f"{chars} characters, data.max_chars is {data.max_chars}")
    return None


def check_quality(example: Example, data: DataConfig) -> Rejection | None:
    """Return the first quality rule that an answer of a row, or its text, does not pass."""
    if not data.quality:
        return None
    answers = [m.content for m in example.messages if m.role == "assistant" and m.is_trained]
    for rule in data.quality:
        for answer in [*answers, example.text]:
            if flaw := find_flaw(rule, answer):
                return Rejection(rule, flaw)
    return None


def _normalise(example: Example, findings: set[str]) -> Example:
    def compose(text: str) -> str:
        if unicodedata.is_normalized("NFC", text):
            return text
        findings.add("unicode_nfc")
        return unicodedata.normalize("NFC", text)

    return rewrite_texts(example, compose)


def _look_for_pii(example: Example, findings: set[str], *, is_masked: bool) -> Example:
    def mask(text: str) -> str:
        masked, kinds = mask_pii(text)
        findings.update(f"pii_{kind}" for kind in kinds)
        return masked

    masked = rewrite_texts(example, mask)
    fields = {key: _rewrite_value(value, mask) for key, value in example.fields.items()}
    if not is_masked:
        return example
    return replace(masked, fields=fields, group=_mask_group(example.group))


def _mask_group(group: str) -> str:
    """Return a group key without personal data that still tells groups apart."""
    masked, kinds = mask_pii(group)
    return f"{masked} {hashlib.sha256(group.encode()).hexdigest()[:16]}" if kinds else group


def rewrite_texts(example: Example, rewrite: Rewrite) -> Example:
    """Return a row with every text in it rewritten: turns, tool calls, tools, names."""
    return replace(
        example,
        messages=tuple(_rewrite_message(message, rewrite) for message in example.messages),
        rejected=tuple(_rewrite_message(message, rewrite) for message in example.rejected),
        text=rewrite(example.text),
        tools=_rewrite_json(example.tools, rewrite),
    )


def _rewrite_message(message: Message, rewrite: Rewrite) -> Message:
    content, name = rewrite(message.content), rewrite(message.name) if message.name else ""
    calls = tuple(
        replace(call, arguments=_rewrite_json(call.arguments, rewrite))
        for call in message.tool_calls
    )
    if (content, name, calls) == (message.content, message.name, message.tool_calls):
        return message
    return replace(message, content=content, name=name, tool_calls=calls)


def _rewrite_json(text: str, rewrite: Rewrite) -> str:
    """Rewrite the texts in a JSON text, which stays JSON; as it was when nothing changes."""
    if not text:
        return text
    value = json.loads(text)
    rewritten = _rewrite_value(value, rewrite)
    return text if rewritten == value else json.dumps(rewritten, ensure_ascii=False)


def _rewrite_value(value: Any, rewrite: Rewrite) -> Any:
    if isinstance(value, str):
        return rewrite(value)
    if isinstance(value, int) and not isinstance(value, bool):
        digits = str(value)  # a phone or card number that was written as a number
        rewritten = rewrite(digits)
        return value if rewritten == digits else rewritten
    if isinstance(value, list):
        return [_rewrite_value(item, rewrite) for item in value]
    if isinstance(value, dict):
        return {rewrite(key): _rewrite_value(item, rewrite) for key, item in value.items()}
    return value
