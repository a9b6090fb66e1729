"""Rows that repeat: exact duplicates, and training prompts that stand in an evaluation set."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from configs.errors import RequestError
from tasks.formatting.examples import Example, Message, digest_content
from tasks.formatting.ledger import TRAIN, LedgerEntry, list_problems
from tasks.records.digests import digest_value


def normalise_text(text: str) -> str:
    r"""Return the text in NFC with every run of white space as one space.

    Case and punctuation stay: in code they carry meaning.

    >>> normalise_text(" What  is\n ROLL? ")
    'What is ROLL?'
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def digest_prompt(messages: Sequence[Message], text: str) -> str:
    """Return the digest of a row's prompt, normalised, system turns left out.

    Rows with equal prompts are one group by default, and a training row must not have the prompt
    of an evaluation row. For a `text` row the whole text stands for the prompt.
    """
    prompt = [[m.role, normalise_text(m.content)] for m in messages[:-1] if m.role != "system"]
    return digest_value(prompt or normalise_text(text))


def filter_duplicates(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Filter training rows that repeat an earlier training row exactly."""
    first: dict[str, str] = {}
    result = []
    for entry in entries:
        if entry.outcome == "kept" and entry.source == TRAIN and entry.example:
            content = digest_content(entry.example.messages, entry.example.text)
            earlier = first.setdefault(content, entry.origin)
            if earlier != entry.origin:
                detail = f"repeats {earlier}"
                entry = replace(  # noqa: PLW2901 # the entry takes the place of the one read
                    entry, outcome="filtered", reason="duplicate", detail=detail
                )
        result.append(entry)
    return result


def resolve_overlap(
    entries: Sequence[LedgerEntry], action: Literal["error", "filter"]
) -> list[LedgerEntry]:
    """Find training rows whose prompt stands in an evaluation set, and filter or refuse them.

    Before the split, an entry's place is its source; after it, its split: a set that was split
    off is then an evaluation set too.

    Raises:
        RequestError: There are some and `action` is `error`; the first ones are listed.
    """
    held_out = _index_prompts(entry for entry in entries if _find_place(entry) != TRAIN)
    result = [_mark_overlap(entry, held_out) for entry in entries]
    overlapping = [e for e, old in zip(result, entries, strict=True) if e is not old]
    if overlapping and action == "error":
        raise RequestError(
            message=f"the prompts of {len(overlapping)} training rows stand in evaluation sets",
            allowed="no prompt on both sides: the model would be tested on what it has seen",
            hint="remove these rows, or leave them out with data.overlap: filter",
            problems=list_problems(overlapping, "filtered"),
        )
    return result


def _find_place(entry: LedgerEntry) -> str:
    return entry.split or entry.source


def _index_prompts(entries: Iterable[LedgerEntry]) -> dict[str, str]:
    """Return where each held-out prompt stands first."""
    index: dict[str, str] = {}
    for entry in entries:
        if entry.outcome == "kept" and entry.example:
            place = f"{entry.origin} of {_find_place(entry)}"
            index.setdefault(_digest_example_prompt(entry.example), place)
    return index


def _mark_overlap(entry: LedgerEntry, held_out: dict[str, str]) -> LedgerEntry:
    if entry.outcome != "kept" or not entry.example or _find_place(entry) != TRAIN:
        return entry
    place = held_out.get(_digest_example_prompt(entry.example))
    if place is None:
        return entry
    detail = f"has the prompt of {place}"
    return replace(entry, outcome="filtered", reason="overlap", detail=detail, split="")


def _digest_example_prompt(example: Example) -> str:
    return digest_prompt(example.messages, example.text)
