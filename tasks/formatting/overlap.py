"""Rows that repeat: exact duplicates, and training prompts or groups of an evaluation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from configs.errors import RequestError
from tasks.formatting.examples import Example, digest_content, digest_prompt
from tasks.formatting.ledger import TRAIN, LedgerEntry, list_problems


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
    """Find training rows whose prompt or group stands in an evaluation set; filter or refuse them.

    Before the split, an entry's place is its source; after it, its split: a set that was split
    off is then an evaluation set too.

    Raises:
        RequestError: There are some and `action` is `error`; the first ones are listed.
    """
    held_out = _index_held_out(entries)
    result = [_mark_overlap(entry, held_out) for entry in entries]
    overlapping = [e for e, old in zip(result, entries, strict=True) if e is not old]
    if overlapping and action == "error":
        raise _refuse_overlap(overlapping)
    return result


@dataclass(frozen=True)
class _HeldOut:
    """Where each held-out prompt and group stands first."""

    prompts: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)


def _index_held_out(entries: Sequence[LedgerEntry]) -> _HeldOut:
    held_out = _HeldOut()
    for entry in entries:
        if entry.outcome == "kept" and entry.example and _find_place(entry) != TRAIN:
            place = f"{entry.origin} of {_find_place(entry)}"
            held_out.prompts.setdefault(_digest_example_prompt(entry.example), place)
            held_out.groups.setdefault(entry.example.group, place)
    return held_out


def _mark_overlap(entry: LedgerEntry, held_out: _HeldOut) -> LedgerEntry:
    if entry.outcome != "kept" or not entry.example or _find_place(entry) != TRAIN:
        return entry
    group = entry.example.group
    if place := held_out.prompts.get(_digest_example_prompt(entry.example)):
        reason, detail = "overlap", f"has the prompt of {place}"
    elif place := held_out.groups.get(group):
        reason, detail = "overlap_group", f'is of the group "{group}", as is {place}'
    else:
        return entry
    return replace(entry, outcome="filtered", reason=reason, detail=detail, split="")


def _refuse_overlap(overlapping: Sequence[LedgerEntry]) -> RequestError:
    what = {
        ("overlap",): "prompts",
        ("overlap_group",): "groups (data.group_by)",
        ("overlap", "overlap_group"): "prompts or groups (data.group_by)",
    }[tuple(sorted({entry.reason for entry in overlapping}))]
    return RequestError(
        message=f"the {what} of {len(overlapping)} training rows stand in evaluation sets",
        allowed="no prompt on both sides: the model would be tested on what it has seen"
        if what == "prompts"
        else "no group on both sides: its rows are not independent",
        hint="remove these rows, or leave them out with data.overlap: filter",
        problems=list_problems(overlapping, "filtered"),
    )


def _find_place(entry: LedgerEntry) -> str:
    return entry.split or entry.source


def _digest_example_prompt(example: Example) -> str:
    return digest_prompt(example.messages, example.text)
