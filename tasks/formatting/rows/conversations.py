"""What parsing a row gives: a conversation or a text, or the reason why the row is invalid."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.formatting.rows.examples import Message
from tasks.formatting.rows.frozen_records import frozen_record


@frozen_record
class Conversation:
    """What a row says, and which of its keys said it."""

    messages: tuple[Message, ...]
    text: str
    keys: tuple[str, ...]
    mapped_roles: tuple[str, ...] = ()
    """The foreign role names that were mapped, once for each turn."""
    tools: str = ""
    """The tools that may be called, as a JSON list; empty when there are none."""
    rejected: tuple[Message, ...] = ()
    """The rejected turns of a `preference` row."""
    rejected_at: int = 0
    """The number of messages that the chosen and the rejected turns have in common."""
    label: bool | None = None
    """Whether the answer of a `kto` row is desired; None for the other formats."""


@dataclass(frozen=True)
class Rejection:
    """Why a row is invalid: a name to count by, and what was found, in words."""

    reason: str
    detail: str


class InvalidRowError(Exception):
    """The way out of nested checks of one row; its arguments are the reason and the detail."""

    @property
    def rejection(self) -> Rejection:
        """The same as a value."""
        return Rejection(*self.args)
