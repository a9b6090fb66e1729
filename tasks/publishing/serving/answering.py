"""An answer while it is written: what was asked, what stands there, what was handed on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

FinishReason = Literal["stop", "length"]
UNFINISHED = "\ufffd"  # what a character is decoded to whose bytes have not all been written


@dataclass(frozen=True)
class Wish:
    """How an answer is to be written."""

    max_new_tokens: int
    temperature: float = 0.0
    """0 takes the likeliest token each time, as the evaluation did."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together have this probability."""
    seed: int | None = None
    """The same seed draws the same answer; None draws another one each time."""
    stop: tuple[str, ...] = ()
    """The answer ends before any of these."""


@dataclass(frozen=True)
class Delta:
    """What is new in an answer."""

    text: str
    finish_reason: FinishReason | None = None
    """Why it ended; None while it goes on."""
    num_tokens: int = 0
    """Tokens of the whole answer so far, an end token included."""
    error: Exception | None = None
    """Why it could not be written."""


@dataclass(eq=False)
class PendingAnswer:
    """One answer that is being written; `deliver` is told what is new, on the writer's thread."""

    prompt: list[int]
    wish: Wish
    deliver: Callable[[Delta], None]
    new_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    generator: Any = None
    """The random numbers of this answer alone, so that its neighbours do not change it."""
    num_shown: int = 0
    """Characters that were handed on."""
    _abandoned: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be written."""
        return self.finish_reason is not None or self._abandoned.is_set()

    @property
    def num_left(self) -> int:
        """Tokens that may still be written."""
        return self.wish.max_new_tokens - len(self.new_ids)

    def abandon(self) -> None:
        """Stop writing: nobody waits for it any more."""
        self._abandoned.set()

    def add_token(self, token: int, end_token_ids: Sequence[int], renderer: Renderer) -> None:
        """Take the next token, and hand on the text that is now certain."""
        self.new_ids.append(token)
        ended = token in end_token_ids
        text = renderer.decode(self.new_ids[:-1] if ended else self.new_ids)
        cut = find_stop(text, self.wish.stop, self.num_shown)
        if cut is not None:
            text = text[:cut]
        if ended or cut is not None:
            self.finish_reason = "stop"
        elif self.num_left <= 0:
            self.finish_reason = "length"
        if self.finish_reason is None:
            text = hold_back(text, self.wish.stop)
        new, self.num_shown = text[self.num_shown :], max(self.num_shown, len(text))
        if new or self.finish_reason:
            self.deliver(Delta(new, self.finish_reason, len(self.new_ids)))

    def fail(self, error: Exception) -> None:
        """Say that it cannot be written."""
        self.abandon()
        self.deliver(Delta("", None, len(self.new_ids), error))


def find_stop(text: str, stops: Sequence[str], num_shown: int) -> int | None:
    """Return where the first stop text begins, or None.

    Args:
        text: The answer so far.
        stops: The stop texts.
        num_shown: Characters that cannot belong to one any more: they were held back otherwise.

    >>> find_stop("one END two", ["END"], 0), find_stop("one", ["END"], 0)
    (4, None)
    """
    places = [place for stop in stops if (place := text.find(stop, num_shown)) >= 0]
    return min(places, default=None)


def hold_back(text: str, stops: Sequence[str]) -> str:
    r"""Return the text without an end that may yet change or become a stop text.

    >>> hold_back("one E", ["END"]), hold_back("caf\ufffd", [])
    ('one ', 'caf')
    """
    text = text.rstrip(UNFINISHED)
    longest = max(
        (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
    )
    return text[: len(text) - longest]
