"""One parser for each format of rows: from the row's keys to turns or text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from configs.schema import FormatName
from tasks.formatting.files.readers import Row
from tasks.formatting.rows.answers import parse_kto, parse_preference
from tasks.formatting.rows.conversations import Conversation, InvalidRowError
from tasks.formatting.rows.examples import Message
from tasks.formatting.rows.message_parsing import read_text, read_turns

Parser = Callable[[Row, Mapping[str, str]], Conversation]


def parse_messages(row: Row, roles: Mapping[str, str]) -> Conversation:
    """Return the conversation under `messages`."""
    return Conversation(read_turns(row["messages"], "messages", roles), "", ("messages",))


def parse_sharegpt(row: Row, roles: Mapping[str, str]) -> Conversation:
    """Return the conversation under `conversations`, whose turns have `from` and `value`."""
    turns = read_turns(row["conversations"], "conversations", roles)
    return Conversation(turns, "", ("conversations",))


def parse_prompt_completion(row: Row, roles: Mapping[str, str]) -> Conversation:
    """Return the turns under `prompt` and `completion`, each a text or a list of turns."""
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) or isinstance(completion, list):
        turns = read_turns(prompt, "prompt", roles) + read_turns(completion, "completion", roles)
    else:
        turns = (
            Message("user", read_text(prompt, "prompt")),
            Message("assistant", read_text(completion, "completion")),
        )
    return Conversation(turns, "", ("prompt", "completion"))


def parse_alpaca(row: Row, roles: Mapping[str, str]) -> Conversation:
    """Return the turns of an instruction, its input and its output; `history` comes before."""
    del roles  # the format has no role names
    input_key = "input" if row.get("input") or "context" not in row else "context"
    output_key = "output" if "output" in row else "response"
    question = read_text(row["instruction"], "instruction")
    if context := read_text(row.get(input_key) or "", input_key, allow_empty=True):
        question += f"\n\n{context}"
    turns = (
        *_read_history(row.get("history")),
        Message("user", question),
        Message("assistant", read_text(row[output_key], output_key)),
    )
    return Conversation(turns, "", ("instruction", "input", input_key, output_key, "history"))


def parse_text(row: Row, roles: Mapping[str, str]) -> Conversation:
    """Return the text under `text` or `content`."""
    del roles
    key = "text" if "text" in row else "content"
    return Conversation((), read_text(row[key], key), (key,))


def _read_history(history: Any) -> tuple[Message, ...]:
    if not history:
        return ()
    if not isinstance(history, list) or any(
        not isinstance(pair, list) or len(pair) != 2 for pair in history
    ):
        raise InvalidRowError("not_messages", "history is not a list of [question, answer] pairs")
    return tuple(
        Message(role, read_text(text, f"history[{number}][{place}]"))
        for number, pair in enumerate(history)
        for place, (role, text) in enumerate(zip(("user", "assistant"), pair, strict=True))
    )


PARSERS: dict[FormatName, Parser] = {
    "messages": parse_messages,
    "prompt-completion": parse_prompt_completion,
    "alpaca": parse_alpaca,
    "sharegpt": parse_sharegpt,
    "preference": parse_preference,
    "kto": parse_kto,
    "text": parse_text,
}
