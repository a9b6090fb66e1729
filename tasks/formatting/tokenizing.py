"""Tokenising kept rows: the preflight of the labels, and what happens to rows that are too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from configs.errors import RequestError
from tasks.formatting.examples import Example, digest_examples
from tasks.formatting.ledger import TRAINING_SPLITS, LedgerEntry, list_problems
from tasks.formatting.rendering import IGNORE_INDEX, Renderer, TokenizedExample
from tasks.formatting.turns import UnrenderableError
from tasks.records.handles import SplitRecord
from tasks.records.observer import Observer

Overlong = Literal["error", "cut", "filter"]
PROGRESS_ROWS = 500


@dataclass(frozen=True)
class TokenizedRow:
    """A ledger entry and, when it is kept, its tokens."""

    entry: LedgerEntry
    tokens: TokenizedExample | None = None


@dataclass(frozen=True)
class Split:
    """The kept examples of one split with their tokens, in the order they were read."""

    examples: tuple[Example, ...]
    tokens: tuple[TokenizedExample, ...]

    def summarise(self) -> SplitRecord:
        """Return the split's counts and its digest."""
        return SplitRecord(
            rows=len(self.examples),
            groups=len({example.group for example in self.examples}),
            tokens=sum(len(tokens.input_ids) for tokens in self.tokens),
            trained_tokens=sum(tokens.num_trained for tokens in self.tokens),
            digest=digest_examples(self.examples),
        )


def tokenize_rows(
    entries: Sequence[LedgerEntry],
    renderer: Renderer,
    *,
    max_length: int,
    overlong: Overlong,
    assistant_only_loss: bool,
    observer: Observer,
) -> list[TokenizedRow]:
    """Render and tokenise every kept row; what cannot be trained on becomes invalid.

    Args:
        entries: The ledger; only kept rows are tokenised.
        renderer: The renderer.
        max_length: Longest row of training and validation in tokens; evaluation rows stay whole.
        overlong: What happens to longer ones.
        assistant_only_loss: Whether only assistant turns are trained on.
        observer: Hears of the progress.

    Raises:
        RequestError: Rows are too long, and `overlong` is `error`, or cutting would remove a
            trained end token.
    """
    rows = []
    for number, entry in enumerate(entries, start=1):
        row = TokenizedRow(entry)
        if entry.outcome == "kept":
            row = tokenize_row(entry, renderer, assistant_only_loss)
        rows.append(fit_length(row, max_length, overlong))
        if number % PROGRESS_ROWS == 0 or number == len(entries):
            observer.report_progress(number, len(entries), "rows")
    refused = [row.entry for row in rows if row.entry.reason == "overlong"]
    if refused and overlong != "filter":
        raise _refuse_overlong(refused, max_length, overlong)
    return rows


def tokenize_row(entry: LedgerEntry, renderer: Renderer, assistant_only_loss: bool) -> TokenizedRow:
    """Return a row's tokens; the row is invalid when no token of it can be trained on."""
    assert entry.example, "a kept row has an example"
    try:
        tokens = renderer.render_example(entry.example, assistant_only_loss)
    except UnrenderableError as err:
        return TokenizedRow(_drop(entry, "invalid", "unrenderable", str(err)))
    if not tokens.num_trained:
        return TokenizedRow(
            _drop(entry, "invalid", "nothing_trained", "no token would be trained on")
        )
    if any(tokens.labels[end] == IGNORE_INDEX for end in tokens.trained_ends):
        return TokenizedRow(
            _drop(entry, "invalid", "untrained_end", "a turn's end is not trained on")
        )
    return TokenizedRow(entry, tokens)


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
    is_text = entry.example is not None and not entry.example.messages
    if overlong != "cut" or (ends != tokens.trained_ends and not is_text):
        detail = f"{len(tokens.input_ids)} tokens"
        return TokenizedRow(_drop(entry, "filtered", "overlong", detail))
    cut = replace(
        tokens,
        input_ids=tokens.input_ids[:max_length],
        labels=tokens.labels[:max_length],
        trained_ends=ends,
    )
    if not cut.num_trained:
        return TokenizedRow(_drop(entry, "invalid", "nothing_trained", "cut to nothing trained on"))
    return TokenizedRow(replace(entry, cut_tokens=num_cut), cut)


def collect_splits(rows: Sequence[TokenizedRow]) -> dict[str, Split]:
    """Return the kept rows by split, training first."""
    kept = [(row.entry, row.tokens) for row in rows if row.tokens]
    found = {entry.split for entry, _ in kept}
    splits = {}
    for name in sorted(found, key=lambda name: (name != "train", name != "validation", name)):
        mine = [(e.example, tokens) for e, tokens in kept if e.split == name and e.example]
        splits[name] = Split(tuple(e for e, _ in mine), tuple(t for _, t in mine))
    return splits


def save_tokens(folder: Path, split: Split) -> None:
    """Save the columns id, input_ids and labels, to be opened with `datasets.load_from_disk`."""
    import datasets
    import pyarrow as pa
    from datasets.table import InMemoryTable

    token_lists = pa.list_(pa.int32())
    table = pa.table(
        {
            "id": pa.array([example.id for example in split.examples], pa.string()),
            "input_ids": pa.array([t.input_ids for t in split.tokens], token_lists),
            "labels": pa.array([t.labels for t in split.tokens], token_lists),
        }
    )
    # The fingerprint is stored; by default it holds the time.
    fingerprint = split.summarise().digest[:16]
    are_shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        dataset = datasets.Dataset(InMemoryTable(table), fingerprint=fingerprint)
        dataset.save_to_disk(folder)
    finally:
        if are_shown:
            datasets.enable_progress_bars()


def _drop(
    entry: LedgerEntry, outcome: Literal["invalid", "filtered"], reason: str, detail: str
) -> LedgerEntry:
    return replace(entry, outcome=outcome, reason=reason, detail=detail, split="")


def _refuse_overlong(
    refused: Sequence[LedgerEntry], max_length: int, overlong: Overlong
) -> RequestError:
    hint = "raise training.max_length, or leave them out with data.overlong: filter"
    if overlong == "cut":
        message = (
            "cutting would remove the trained end of a turn; the model would not learn to stop"
        )
    else:
        message = "nothing is cut unasked"
        hint += " (texts can be cut with data.overlong: cut)"
    return RequestError(
        message=f"{len(refused)} rows are too long: {message}",
        allowed=f"{max_length} tokens (training.max_length)",
        hint=hint,
        problems=list_problems(refused, "filtered"),
    )
