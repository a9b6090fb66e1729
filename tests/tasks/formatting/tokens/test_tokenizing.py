from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.formatting.ledger import LedgerEntry
from tasks.formatting.rendering.renderer import TokenizedExample
from tasks.formatting.rows.examples import Example, Message
from tasks.formatting.tokens.tokenizing import Overlong, TokenizedRow, fit_length

MESSAGES = (Message("user", "Why?"), Message("assistant", "So."))
KEPT = LedgerEntry("train", "a:1", "kept", split="train")
CHAT = TokenizedRow(KEPT, Example("a", "g", MESSAGES, "", "a:1"))
TEXT = TokenizedRow(KEPT, Example("a", "g", (), "abc", "a:1"))
TOKENS = TokenizedExample([1, 2, 3, 4, 5, 6], [-100, -100, 3, 4, 5, -100], (4,))
TEXT_TOKENS = TokenizedExample([1, 2, 3], [-100, 2, 3], (2,))


def test_what_fits_is_left_alone() -> None:
    row = replace(CHAT, tokens=TOKENS)
    assert fit_length(row, 6, "error") is row


def test_a_conversation_may_lose_what_follows_its_trained_end() -> None:
    row = fit_length(replace(CHAT, tokens=TOKENS), 5, "cut")
    assert row.tokens == TokenizedExample([1, 2, 3, 4, 5], [-100, -100, 3, 4, 5], (4,))
    assert (row.entry.outcome, row.entry.cut_tokens) == ("kept", 1)


@pytest.mark.parametrize("overlong", ["error", "cut", "filter"])
def test_a_conversation_never_loses_its_trained_end(overlong: Overlong) -> None:
    row = fit_length(replace(CHAT, tokens=TOKENS), 4, overlong)
    assert row.tokens is None
    assert (row.entry.outcome, row.entry.reason) == ("filtered", "overlong")
    assert row.entry.detail == "6 tokens"


@pytest.mark.parametrize("overlong", ["error", "cut", "filter"])
def test_an_evaluation_row_stays_whole_and_one_of_validation_does_not(overlong: Overlong) -> None:
    row = replace(CHAT, entry=replace(KEPT, split="test"), tokens=TOKENS)
    assert fit_length(row, 4, overlong) is row
    row = fit_length(replace(row, entry=replace(KEPT, split="validation")), 4, overlong)
    assert row.entry.reason == "overlong"


def test_a_text_may_lose_its_end() -> None:
    row = fit_length(replace(TEXT, tokens=TEXT_TOKENS), 2, "cut")
    assert row.tokens == TokenizedExample([1, 2], [-100, 2], ())
    assert row.entry.cut_tokens == 1


def test_a_text_cut_to_nothing_trained_on_is_invalid() -> None:
    row = fit_length(replace(TEXT, tokens=TEXT_TOKENS), 1, "cut")
    assert (row.entry.outcome, row.entry.reason, row.tokens) == ("invalid", "nothing_trained", None)
