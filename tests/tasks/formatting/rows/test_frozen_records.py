"""Records that are quick to make are compared, hashed and replaced as frozen ones are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.formatting.rows.conversations import Conversation
from tasks.formatting.rows.examples import Message

TURN = Message("user", "Why?")


def test_equal_records_are_one_in_a_set() -> None:
    assert {TURN, Message("user", "Why?"), replace(TURN, content="So.")} == {
        TURN,
        Message("user", "So."),
    }
    assert len({Conversation((TURN,), "", ()), Conversation((TURN,), "", ())}) == 1


def test_a_record_has_no_other_fields() -> None:
    with pytest.raises(AttributeError):
        setattr(TURN, "weight", 0)  # noqa: B010
