"""Rendered conversations, cut into what is trained on and what is not, proved by prefixes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from configs.errors import RequestError
from tasks.formatting.examples import Message

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

    def split_prompt(self, messages: Sequence[Message]) -> list[Piece]:
        """Cut the rendering of the messages before an answer, with its generation prompt.

        An earlier assistant turn is a trained piece when the rendering begins with that of the
        messages before it, with a generation prompt, and goes on as far as the one that ends with
        it: what is trained on is exactly what would follow that prompt. Templates that change
        earlier turns as the conversation goes on leave those untrained.

        Raises:
            UnrenderableError: The template refuses the messages.
        """
        text = self.render(messages, add_generation_prompt=True)
        pieces: list[Piece] = []
        done = 0
        for number in (i for i, m in enumerate(messages) if m.role == "assistant"):
            prompt = self.render(messages[:number], add_generation_prompt=True)
            closed = self.render(messages[: number + 1])
            if text.startswith(closed) and self._is_turn(prompt, closed) and len(prompt) >= done:
                end = len(closed) - len(self.tail)
                pieces.append(Piece(text[done : len(prompt)], is_trained=False))
                pieces.append(Piece(text[len(prompt) : end], is_trained=True))
                done = end
        return [*pieces, Piece(text[done:], is_trained=False)]

    def split_conversation(self, messages: Sequence[Message]) -> list[Piece]:
        """Cut the rendering of a conversation that ends with an answer.

        Returns:
            The pieces of its prompt, the answer with its end token, and the tail if there is one.

        Raises:
            UnrenderableError: The template refuses it, or the answer does not follow its prompt.
        """
        pieces = self.split_prompt(messages[:-1])
        prompt = "".join(piece.text for piece in pieces)
        text = self.render(messages)
        if not self._is_turn(prompt, text):
            raise UnrenderableError(
                "the chat template writes the last turn otherwise than after a generation prompt, "
                f"or does not end it with {self.end_token}"
            )
        end = len(text) - len(self.tail)
        pieces.append(Piece(text[len(prompt) : end], is_trained=True))
        return [*pieces, Piece(self.tail, is_trained=False)] if self.tail else pieces

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """Return the text of a conversation.

        Raises:
            UnrenderableError: The template refuses it.
        """
        return render_text(
            self.tokenizer, self.text, messages, add_generation_prompt=add_generation_prompt
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
    *,
    add_generation_prompt: bool = False,
) -> str:
    """Return the text that a template makes of messages.

    Raises:
        UnrenderableError: The template refuses them.
    """
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages],
            chat_template=template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            date_string=FIXED_DATE,
        )
    except (TemplateError, TypeError, ValueError) as err:
        raise UnrenderableError(f"the chat template refuses the conversation: {err}") from err
    return text


def _refuse_template(message: str) -> RequestError:
    return RequestError(
        where="model.chat_template",
        message=f"the chat template does not fit: {message}",
        hint="name another one; alpaca fits every base that has an eos token",
    )
