"""Tokenising kept rows: the preflight of the labels, and what happens to rows that are too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from configs.errors import RequestError
from tasks.formatting.ledger import TRAINING_SPLITS, LedgerEntry, Tally, list_problems
from tasks.formatting.rendering.renderer import IGNORE_INDEX, Renderer, TokenizedExample
from tasks.formatting.rendering.turns import UnrenderableError
from tasks.formatting.rows.examples import Example

Overlong = Literal["error", "cut", "filter"]


@dataclass(frozen=True)
class TokenSettings:
    """How rows become tokens."""

    max_length: int
    """Longest row of training and validation in tokens; evaluation rows stay whole."""
    overlong: Overlong
    """What happens to longer ones."""
    assistant_only_loss: bool
    """Whether only assistant turns are trained on."""


@dataclass(frozen=True)
class TokenizedRow:
    """A ledger entry and, when it is kept, its example and tokens."""

    entry: LedgerEntry
    example: Example
    tokens: TokenizedExample | None = None


def tokenize_rows(
    rows: Sequence[tuple[LedgerEntry, Example]], renderer: Renderer, settings: TokenSettings
) -> list[TokenizedRow]:
    """Render and tokenise kept rows together; what cannot be trained on becomes invalid.

    A row that is too long and must not be cut comes back as filtered, whatever the settings say:
    see `check_overlong`.
    """
    rendered = renderer.render_examples(
        [example for _, example in rows], settings.assistant_only_loss
    )
    checked = [
        check_tokens(entry, example, tokens)
        for (entry, example), tokens in zip(rows, rendered, strict=True)
    ]
    return [fit_length(row, settings.max_length, settings.overlong) for row in checked]


def check_tokens(
    entry: LedgerEntry, example: Example, tokens: TokenizedExample | UnrenderableError
) -> TokenizedRow:
    """Return a row with its tokens; it is invalid when no token of it can be trained on."""
    if isinstance(tokens, UnrenderableError):
        return TokenizedRow(_drop(entry, "invalid", "unrenderable", str(tokens)), example)
    if not tokens.num_trained:
        found = "no token would be trained on"
        return TokenizedRow(_drop(entry, "invalid", "nothing_trained", found), example)
    if example.label is False and entry.split not in TRAINING_SPLITS:
        found = "label: false; no model is measured by an undesired answer"
        return TokenizedRow(_drop(entry, "filtered", "undesired", found), example)
    if any(tokens.labels[end] == IGNORE_INDEX for end in tokens.trained_ends):
        found = "a turn's end is not trained on"
        return TokenizedRow(_drop(entry, "invalid", "untrained_end", found), example)
    counted = replace(entry, untrained_turns=tokens.untrained_turns)
    return TokenizedRow(counted, example, tokens)


def fit_length(row: TokenizedRow, max_length: int, overlong: Overlong) -> TokenizedRow:
    """Cut a row to `max_length` tokens, or filter it as `overlong`; an evaluation row stays whole.

    The frozen sets must not depend on how long the rows of a training are; evaluation itself
    refuses what the model's context does not hold.

    A conversation is cut only where no trained end token is lost (the model would learn to go on
    for ever); a text loses its end, and that is counted.
    """
    tokens, entry = row.tokens, row.entry
    if tokens is None or entry.split not in TRAINING_SPLITS or len(tokens.input_ids) <= max_length:
        return row
    num_cut = len(tokens.input_ids) - max_length
    ends = tuple(end for end in tokens.trained_ends if end < max_length)
    if overlong != "cut" or (ends != tokens.trained_ends and row.example.messages):
        detail = f"{len(tokens.input_ids)} tokens"
        return TokenizedRow(_drop(entry, "filtered", "overlong", detail), row.example)
    cut = replace(
        tokens,
        input_ids=tokens.input_ids[:max_length],
        labels=tokens.labels[:max_length],
        trained_ends=ends,
    )
    if not cut.num_trained:
        found = "cut to nothing trained on"
        return TokenizedRow(_drop(entry, "invalid", "nothing_trained", found), row.example)
    return TokenizedRow(replace(entry, cut_tokens=num_cut), row.example, cut)


def check_overlong(tally: Tally, settings: TokenSettings) -> None:
    """Stop when rows are too long and nothing allows to leave them out.

    Raises:
        RequestError: `overlong` is `error`, or cutting would remove a trained end token.
    """
    num_refused = sum(n for (_, _, reason), n in tally.counts.items() if reason == "overlong")
    if not num_refused or settings.overlong == "filter":
        return
    hint = "raise training.max_length, or leave them out with data.overlong: filter"
    if settings.overlong == "cut":
        message = (
            "cutting would remove the trained end of a turn; the model would not learn to stop"
        )
    else:
        message = "nothing is cut unasked"
        hint += " (texts can be cut with data.overlong: cut)"
    raise RequestError(
        message=f"{num_refused} rows are too long: {message}",
        allowed=f"{settings.max_length} tokens (training.max_length)",
        hint=hint,
        problems=list_problems(tally, "filtered", reason="overlong"),
    )


def _drop(
    entry: LedgerEntry, outcome: Literal["invalid", "filtered"], reason: str, detail: str
) -> LedgerEntry:
    return replace(
        entry, outcome=outcome, reason=reason, detail=detail, split="", untrained_turns=0
    )
