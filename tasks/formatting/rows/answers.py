"""Rows that judge answers: a chosen beside a rejected one (`preference`), or a label (`kto`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.formatting.files.readers import Row
from tasks.formatting.rows.conversations import Conversation, InvalidRowError
from tasks.formatting.rows.examples import Message
from tasks.formatting.rows.message_parsing import read_text, read_turn, read_turns
from tasks.formatting.rows.tool_parsing import read_tools, show_value

# Where the turns before the judged answer may stand, the first key that is there counts.
PROMPT_KEYS = ("prompt", "conversations", "messages")
# A whole conversation in one text, as Anthropic's helpful-and-harmless data has it.
SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):[ ]?")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
OPENAI_KEYS = ("input", "preferred_output", "non_preferred_output")
SHARED_KEYS = ("tools", "parallel_tool_calls")
LABELS = {"true": True, "false": False, "1": True, "0": False}


def parse_preference(row: Row, roles: Mapping[str, str]) -> Conversation:
    """Return the conversation that ends with the chosen answer, and the rejected turns beside it.

    `chosen` and `rejected` are texts, turns, or lists of turns; they may begin with the prompt,
    and where the row has no prompt, it is what they have in common. Only turns after the prompt
    are trained on. OpenAI's own keys are `input`, `preferred_output` and `non_preferred_output`.
    """
    if "chosen" not in row:
        return _parse_openai(row, roles)
    prompt_key = next((key for key in PROMPT_KEYS if key in row), None)
    prompt = _read_prompt(row[prompt_key], prompt_key, roles) if prompt_key else ()
    chosen = _join(prompt, _read_answer(row["chosen"], "chosen", roles), "chosen")
    rejected = _join(prompt, _read_answer(row["rejected"], "rejected", roles), "rejected")
    if rejected[-1].role != "assistant":
        found = f"rejected ends with a {rejected[-1].role} turn; it is an assistant's answer"
        raise InvalidRowError("no_last_answer", found)
    shared = _count_shared(chosen, rejected, len(prompt))
    keys = ("chosen", "rejected", *([prompt_key] if prompt_key else []))
    return Conversation(
        _untrain(chosen, shared), "", keys, rejected=rejected[shared:], rejected_at=shared
    )


def parse_kto(row: Row, roles: Mapping[str, str]) -> Conversation:
    """Return the conversation whose last turns, the completion, are desired or not.

    Only the completion is trained on. Where the conversation stands under `messages` or
    `conversations`, its last turn is the completion.
    """
    label = row["label"]
    if isinstance(label, str):  # as CSV files have it
        label = LABELS.get(label.strip().lower(), label)
    if label not in (True, False):
        found = f"label is {show_value(row['label'])}; allowed: true and false"
        raise InvalidRowError("broken_label", found)
    if "completion" in row:
        prompt = _read_prompt(row["prompt"], "prompt", roles)
        answer = _read_answer(row["completion"], "completion", roles)
        turns = _untrain(_join(prompt, answer, "completion"), len(prompt))
        return Conversation(turns, "", ("prompt", "completion", "label"), label=bool(label))
    key = "messages" if "messages" in row else "conversations"
    turns = read_turns(row[key], key, roles)
    return Conversation(_untrain(turns, len(turns) - 1), "", (key, "label"), label=bool(label))


def _parse_openai(row: Row, roles: Mapping[str, str]) -> Conversation:
    asked = row["input"]
    if not isinstance(asked, dict) or not asked.keys() <= {"messages", *SHARED_KEYS}:
        found = f"input has messages, tools and parallel_tool_calls; found {show_value(asked)}"
        raise InvalidRowError("not_messages", found)
    answers = {"chosen": row["preferred_output"], "rejected": row["non_preferred_output"]}
    parsed = parse_preference({"messages": asked.get("messages"), **answers}, roles)
    tools = read_tools(asked.get("tools"), "input.tools")
    return replace(parsed, keys=OPENAI_KEYS, tools=tools)


def _read_prompt(value: Any, key: str, roles: Mapping[str, str]) -> tuple[Message, ...]:
    if isinstance(value, list):
        return read_turns(value, key, roles)
    return _split_speakers(value) or (Message("user", read_text(value, key)),)


def _read_answer(value: Any, key: str, roles: Mapping[str, str]) -> tuple[Message, ...]:
    if isinstance(value, list):
        return read_turns(value, key, roles)
    if isinstance(value, dict):
        return (read_turn(value, key, roles),)
    # A rejected answer may be empty: it is never trained on by itself.
    text = read_text(value, key, allow_empty=key == "rejected")
    return _split_speakers(text) or (Message("assistant", text),)


def _split_speakers(text: Any) -> tuple[Message, ...]:
    """Return the turns of a text such as "Human: ... Assistant: ..."; none of another text."""
    if not isinstance(text, str) or not text.startswith("\n\nHuman:"):
        return ()
    parts = SPEAKER.split(text)[1:]
    turns = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(SPEAKERS[name], read_text(said, name.lower())) for name, said in turns)


def _join(
    prompt: tuple[Message, ...], answer: tuple[Message, ...], key: str
) -> tuple[Message, ...]:
    """Return the prompt with the answer, which may begin with the prompt itself."""
    if all(turn.role in {"assistant", "tool"} for turn in answer):
        return prompt + answer
    if not prompt or answer[: len(prompt)] == prompt:
        return answer
    spoken = tuple(turn for turn in prompt if turn.role != "system")
    if answer[: len(spoken)] == spoken:
        return prompt + answer[len(spoken) :]
    found = f"{key} holds a whole conversation, which does not begin with the prompt"
    raise InvalidRowError("other_prompt", found)


def _count_shared(chosen: tuple[Message, ...], rejected: tuple[Message, ...], at_least: int) -> int:
    """Return how many turns both begin with; the last of each is always its own."""
    most = min(len(chosen), len(rejected)) - 1
    same = next((i for i in range(most) if chosen[i] != rejected[i]), most)
    return min(max(same, at_least), most)


def _untrain(messages: tuple[Message, ...], end: int) -> tuple[Message, ...]:
    """Return the messages with the assistant turns before `end` not trained on."""
    return tuple(
        replace(turn, is_trained=False) if number < end and turn.role == "assistant" else turn
        for number, turn in enumerate(messages)
    )
