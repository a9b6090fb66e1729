"""Rendered conversations, cut into what is trained on and what is not, proved by prefixes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from configs.errors import RequestError
from tasks.formatting.rendering.chat_templates import list_tool_templates
from tasks.formatting.rows.examples import Message

# Llama 3.1's template writes this date when it is told none; 3.2's would ask the clock.
FIXED_DATE = "26 Jul 2024"
PROBE = (Message("user", "What is one and one?"), Message("assistant", "It is two."))


class UnrenderableError(ValueError):
    """The chat template refuses a conversation, or its text cannot be proved; says why."""


@dataclass(frozen=True)
class Piece:
    """A part of a rendered conversation, and whether it is trained on."""

    text: str
    is_trained: bool
    is_excluded: bool = False
    """Whether it is an assistant turn of the weight 0: never trained on, whatever else is."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template and what it writes around the text of an assistant turn."""

    tokenizer: Any
    text: str
    """The Jinja source."""
    lead: str
    """Between the generation prompt and the turn's text, such as Mistral's space."""
    end: str
    """After the turn's text, up to and including `end_token`."""
    end_token: str
    """The token that ends a turn."""
    tail: str
    """After the end token, such as a line break; not trained on."""

    def split_prompt(self, messages: Sequence[Message], tools: str = "") -> list[Piece]:
        """Cut the rendering of the messages before an answer, with its generation prompt.

        An earlier assistant turn is a trained piece when the rendering begins with that of the
        messages before it, with a generation prompt, and goes on as far as the one that ends with
        it: what is trained on is exactly what would follow that prompt. Templates that change
        earlier turns as the conversation goes on leave those untrained; so does a first turn,
        which answers nothing.

        Args:
            messages: The messages before the answer.
            tools: The tools that may be called, as a JSON list; empty for none.

        Raises:
            UnrenderableError: The template refuses the messages.
        """
        text = self.render(messages, tools, add_generation_prompt=True)
        pieces: list[Piece] = []
        done = 0
        for number in (i for i, m in enumerate(messages) if i and m.role == "assistant"):
            prompt = self.render(messages[:number], tools, add_generation_prompt=True)
            closed = self.render(messages[: number + 1], tools)
            if text.startswith(closed) and self._is_turn(prompt, closed) and len(prompt) >= done:
                end = len(closed) - len(self.tail)
                is_trained = messages[number].is_trained
                pieces.append(Piece(text[done : len(prompt)], is_trained=False))
                pieces.append(Piece(text[len(prompt) : end], is_trained, not is_trained))
                done = end
        return [*pieces, Piece(text[done:], is_trained=False)]

    def split_conversation(self, messages: Sequence[Message], tools: str = "") -> list[Piece]:
        """Cut the rendering of a conversation that ends with an answer.

        Args:
            messages: The conversation; its last turn is trained on.
            tools: The tools that may be called, as a JSON list; empty for none.

        Returns:
            The pieces of its prompt, the answer with its end token, and the tail if there is one.

        Raises:
            UnrenderableError: The template refuses it, or the answer does not follow its prompt.
        """
        pieces = self.split_prompt(messages[:-1], tools)
        prompt = "".join(piece.text for piece in pieces)
        text = self.render(messages, tools)
        if not self._is_turn(prompt, text):
            raise UnrenderableError(
                "the chat template writes the last turn otherwise than after a generation prompt, "
                f"or does not end it with {self.end_token}"
            )
        end = len(text) - len(self.tail)
        pieces.append(Piece(text[len(prompt) : end], is_trained=True))
        return [*pieces, Piece(self.tail, is_trained=False)] if self.tail else pieces

    def check_tools(self, messages: Sequence[Message], tools: str) -> None:
        """Check that the template writes the tools and each tool call, and text beside a call.

        Many templates pass over what they do not know. Here each of these is taken away in turn:
        where the text stays the same, the template does not write it.

        Raises:
            UnrenderableError: Something would be lost.
        """
        if tools and self.render(messages, tools) == self.render(messages):
            raise _refuse_lost("the tools of the row")
        for number, message in enumerate(messages):
            for lost, shorter in _list_shortened(message):
                whole = self.render(messages[: number + 1], tools)
                try:
                    text = self.render([*messages[:number], shorter], tools)
                except UnrenderableError:  # what cannot be left out is written
                    continue
                if text == whole:
                    raise _refuse_lost(f"{lost} of turn {number}")

    def render(
        self, messages: Sequence[Message], tools: str = "", *, add_generation_prompt: bool = False
    ) -> str:
        """Return the text of a conversation.

        Raises:
            UnrenderableError: The template refuses it.
        """
        return render_text(
            self.tokenizer, self.text, messages, tools, add_generation_prompt=add_generation_prompt
        )

    def _is_turn(self, prompt: str, closed: str) -> bool:
        return closed.startswith(prompt) and closed[len(prompt) :].endswith(self.end + self.tail)


def load_chat_template(tokenizer: Any, text: str) -> ChatTemplate:
    """Find what a template writes around an assistant turn, on a short conversation.

    Raises:
        RequestError: The template cannot render it, or ends the turn with no token.
    """
    try:
        prompt = render_text(tokenizer, text, PROBE[:1], add_generation_prompt=True)
        closed = render_text(tokenizer, text, PROBE)
    except UnrenderableError as err:
        raise _refuse_template(str(err)) from err
    turn = closed.removeprefix(prompt)
    lead, content, rest = turn.partition(PROBE[1].content)
    if not closed.startswith(prompt) or not content:
        raise _refuse_template("what follows the generation prompt is not the assistant's turn")
    added = sorted(map(str, tokenizer.added_tokens_decoder.values()), key=len, reverse=True)
    found = re.search("|".join(map(re.escape, added)) or "(?!)", rest)
    if not found or found[0].isspace():
        raise _refuse_template(
            f"it ends an assistant turn with {rest!r}, which holds no token of this base model: "
            "the model could not learn to stop"
        )
    return ChatTemplate(
        tokenizer, text, lead, rest[: found.end()], found[0], tail=rest[found.end() :]
    )


def render_text(
    tokenizer: Any,
    template: str,
    messages: Sequence[Message],
    tools: str = "",
    *,
    add_generation_prompt: bool = False,
) -> str:
    """Return the text that a template makes of messages.

    Args:
        tokenizer: A transformers tokenizer.
        template: The Jinja source.
        messages: The conversation.
        tools: The tools that may be called, as a JSON list; empty for none.
        add_generation_prompt: Whether the text ends with the beginning of an assistant turn.

    Raises:
        UnrenderableError: The template refuses them.
    """
    from jinja2 import TemplateError

    turns = [_build_turn(message) for message in messages]
    try:
        if turns and not tools:
            return _render_directly(tokenizer, template, turns, add_generation_prompt)
        text: str = tokenizer.apply_chat_template(
            turns,
            tools=json.loads(tools) if tools else None,
            chat_template=template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            date_string=FIXED_DATE,
        )
    except (TemplateError, TypeError, ValueError) as err:
        raise UnrenderableError(f"the chat template refuses the conversation: {err}") from err
    return text


def _render_directly(
    tokenizer: Any, template: str, turns: list[dict[str, Any]], add_generation_prompt: bool
) -> str:
    """Return what `apply_chat_template` does, without its care for what these turns never hold.

    It copies all turns for fear of images and arrays in them, which takes as long as the rendering.
    """
    from transformers.utils.chat_template_utils import _compile_jinja_template

    text: str = _compile_jinja_template(template).render(
        messages=turns,
        tools=None,
        documents=None,
        add_generation_prompt=add_generation_prompt,
        **{**tokenizer.special_tokens_map, "date_string": FIXED_DATE},
    )
    return text


def _build_turn(message: Message) -> dict[str, Any]:
    """Return a turn of the shape that chat templates read."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
                **({"id": call.id} if call.id else {}),
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.name:
        turn["name"] = message.name
    return turn


def _list_shortened(message: Message) -> Iterator[tuple[str, Message]]:
    """Yield a turn without one of its tool calls, or without the text beside them."""
    calls = message.tool_calls
    for place, call in enumerate(calls):
        rest = calls[:place] + calls[place + 1 :]
        yield f'the call of "{call.name}"', replace(message, tool_calls=rest)
    if calls and message.content:
        yield "the text beside the tool calls", replace(message, content="")


def _refuse_lost(what: str) -> UnrenderableError:
    return UnrenderableError(
        f"the chat template does not write {what}; name one that does with model.chat_template "
        f"(built-in ones with tools: {', '.join(list_tool_templates())})"
    )


def _refuse_template(message: str) -> RequestError:
    return RequestError(
        where="model.chat_template",
        message=f"the chat template does not fit: {message}",
        hint="name another one; alpaca fits every base that has an eos token",
    )
