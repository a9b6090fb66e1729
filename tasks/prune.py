"""Keep HONE_HOME within bounds: take away old runs and results, never what is needed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from configs.retention import RetentionConfig
from tasks.records.disk import empty_trash, move_to_trash
from tasks.records.handles import Record
from tasks.records.home import find_home
from tasks.records.leases import find_gate, find_oldest_lease, is_locked
from tasks.records.locks import hold_lock
from tasks.records.stage_fields import name_fields
from tasks.survey import (
    Item,
    measure_home,
    survey_blobs,
    survey_checkpoints,
    survey_entries,
    survey_runs,
)

LOG = logging.getLogger("hone")
SECONDS_PER_DAY = 86_400.0
CLOCK_MARGIN = 600.0
"""Seconds by which the clocks of machines that share a HONE_HOME may differ."""
ROOTS = ("outputs", "cache")


class Judgement(Record):
    """What becomes of one run or result, and why."""

    path: str
    kind: str
    num_bytes: int
    days: float
    """Since it was used."""
    why: str


class Pruning(Record):
    """What was removed, and what stays."""

    dry_run: bool
    removed: tuple[Judgement, ...]
    kept: tuple[Judgement, ...]
    """Runs and results that stay; those that a run needs stand with it."""
    num_bytes_before: int
    num_bytes: int
    """What HONE_HOME takes now, or would take."""
    max_bytes: int | None

    @property
    def is_within(self) -> bool:
        """Whether the limit of size is kept."""
        return self.max_bytes is None or self.num_bytes <= self.max_bytes


class Choice:
    """Which items go, one after the other, and what that changes for the others."""

    def __init__(self, now: float, in_use_since: float | None, limits: RetentionConfig) -> None:
        self.going: dict[str, str] = {}
        self._now = now
        self._in_use_since = in_use_since
        self._limits = limits

    def explain_stay(self, item: Item) -> str:
        """Return why an item may not go; empty where it may."""
        if item.precious:
            return item.precious
        if self._in_use_since is not None and item.last_used >= self._in_use_since - CLOCK_MARGIN:
            return "another process may be using it"
        return ""

    @property
    def is_in_use(self) -> bool:
        """Whether another process uses this HONE_HOME."""
        return self._in_use_since is not None

    def drop(self, item: Item, why: str) -> None:
        """Let an item go."""
        self.going[item.path] = why

    def is_old(self, item: Item) -> bool:
        """Return whether an item was not used for the days that it may be."""
        return self._now - item.last_used > self._limits.older_than_days * SECONDS_PER_DAY

    @property
    def age(self) -> str:
        """Why an old item goes."""
        return f"not used for {self._limits.older_than_days:g} days"

    def count_days(self, item: Item) -> float:
        """Return for how long an item was not used."""
        return round((self._now - item.last_used) / SECONDS_PER_DAY, 2)


def prune_home(limits: RetentionConfig, *, dry_run: bool = False) -> Pruning:
    """Take away what the limits do not allow; who starts meanwhile waits for a moment.

    Each run or result goes by one rename, runs before what they refer to, and is removed after
    that: whenever this is killed, each is there as a whole or not at all, and the next call removes
    what is left of it.

    Args:
        limits: What may stay.
        dry_run: Say what would be done, and do nothing.
    """
    home = find_home()
    with hold_lock(find_gate(), f"the removal of old results in {home}"):
        before = measure_home()
        choice = Choice(time.time(), find_oldest_lease(), limits)
        items = choose(choice, limits, before)
        if not dry_run:
            take_away([item for item in items if item.path in choice.going])
    if not dry_run:
        for root in ROOTS:
            empty_trash(home / root)
    pruning = summarize(choice, items, limits, before, dry_run=dry_run)
    LOG.info(
        "prune: %d of %d runs and results %s, %.3f GB; %.3f GB are left",
        len(pruning.removed), len(items), "would go" if dry_run else "removed",
        (pruning.num_bytes_before - pruning.num_bytes) / 1e9, pruning.num_bytes / 1e9,
        extra=name_fields(
            "prune", removed=len(pruning.removed), kept=len(pruning.kept), dry_run=dry_run,
            num_bytes_before=pruning.num_bytes_before, num_bytes=pruning.num_bytes,
        ),
    )  # fmt: skip
    return pruning


def choose(choice: Choice, limits: RetentionConfig, num_bytes: int) -> list[Item]:
    """Decide on everything; return the items, runs first, with why those stay that have to."""
    runs = [replace(run, precious=choice.explain_stay(run)) for run in survey_runs()]
    for kind in dict.fromkeys(run.kind for run in runs):
        drop_runs(choice, [run for run in runs if run.kind == kind], limits)
    entries = [replace(entry, precious=choice.explain_stay(entry)) for entry in survey_entries()]
    locked = {e.path for e in entries if is_locked(find_home() / f"{e.path}.lock")}
    entries = [
        replace(entry, precious="somebody works on it") if entry.path in locked else entry
        for entry in entries
    ]
    drop_entries(choice, runs, entries)
    checkpoints = drop_checkpoints(choice, entries)
    if limits.max_gb is not None:
        drop_until(choice, runs, entries, checkpoints, num_bytes, limits.max_gb * 1e9)
    drop_with_entries(choice, checkpoints)
    kept = [entry for entry in entries if entry.path not in choice.going]
    return [*runs, *entries, *checkpoints, *drop_blobs(choice, kept)]


def drop_runs(choice: Choice, runs: Sequence[Item], limits: RetentionConfig) -> None:
    """Let the old and the many go among the runs of one kind, newest first."""
    for rank, run in enumerate(runs):
        if run.precious:
            continue
        if choice.is_old(run):
            choice.drop(run, choice.age)
        elif rank >= limits.keep:
            choice.drop(run, f"there are {limits.keep} newer ones")


def drop_entries(choice: Choice, runs: Sequence[Item], entries: Sequence[Item]) -> None:
    """Let the results go that only runs needed that go, and old ones that no run needs."""
    needed = find_needed(choice, runs)
    orphaned = {path for run in runs if run.path in choice.going for path in run.refers_to}
    for entry in entries:
        if entry.precious or entry.path in needed:
            continue
        if choice.is_old(entry):
            choice.drop(entry, choice.age)
        elif entry.path in orphaned:
            choice.drop(entry, "the runs that had it go")


def find_needed(choice: Choice, runs: Iterable[Item]) -> frozenset[str]:
    """Return the results that runs that stay refer to."""
    return frozenset(path for r in runs if r.path not in choice.going for path in r.refers_to)


def drop_checkpoints(choice: Choice, entries: Sequence[Item]) -> list[Item]:
    """Let the checkpoints of old trainings go whose results stay."""
    found = survey_checkpoints(list(entries))
    for item in found:
        if not item.precious and choice.is_old(item):
            choice.drop(item, choice.age)
    return found


def drop_with_entries(choice: Choice, checkpoints: Sequence[Item]) -> None:
    """Let the checkpoints go with the results that go."""
    for item in checkpoints:
        entry = item.path.rpartition("/")[0]
        if entry in choice.going:
            choice.drop(item, choice.going[entry])


def drop_blobs(choice: Choice, entries: Sequence[Item]) -> list[Item]:
    """Let the raw files go that no data version has, while nobody may be making one."""
    why = "another process may be reading data" if choice.is_in_use else ""
    found = [replace(blob, precious=why) for blob in survey_blobs(list(entries))]
    has_versions_going = any(path.startswith("cache/version/") for path in choice.going)
    for blob in found:
        if not blob.precious and (has_versions_going or choice.count_days(blob) >= 1):
            choice.drop(blob, "no data version has it")
    return found


def drop_until(
    choice: Choice,
    runs: Sequence[Item],
    entries: Sequence[Item],
    checkpoints: Sequence[Item],
    num_bytes: float,
    max_bytes: float,
) -> None:
    """Let the longest unused go until the rest fits: checkpoints, then runs with their results."""
    sizes = {item.path: item.num_bytes for item in (*runs, *entries, *checkpoints)}

    def excess() -> float:
        drop_with_entries(choice, checkpoints)
        return num_bytes - sum(sizes[path] for path in choice.going) - max_bytes

    why = f"HONE_HOME takes more than {max_bytes / 1e9:g} GB"
    for item in sorted(checkpoints, key=lambda item: item.last_used):
        if excess() > 0 and not item.precious:
            choice.drop(item, why)
    for item in sorted((*runs, *entries), key=lambda item: item.last_used):
        if excess() <= 0:
            return
        if item.precious or item.path in choice.going:
            continue
        if item.path in find_needed(choice, runs):
            continue
        choice.drop(item, why)
        orphaned = item.refers_to - find_needed(choice, runs) if item.refers_to else frozenset()
        for entry in entries:
            if entry.path in orphaned and not entry.precious and entry.path not in choice.going:
                choice.drop(entry, why)


def take_away(items: Sequence[Item]) -> None:
    """Rename everything that goes into the trash of its root."""
    home = find_home()
    for item in items:
        move_to_trash(home / item.path, home / item.path.split("/")[0])


def summarize(
    choice: Choice,
    items: Sequence[Item],
    limits: RetentionConfig,
    num_bytes_before: int,
    *,
    dry_run: bool,
) -> Pruning:
    """Return what was decided, with the reason of each."""
    needed = find_needed(choice, items)
    removed = [_judge(choice, item, choice.going[item.path]) for item in items
               if item.path in choice.going]  # fmt: skip
    kept = [
        _judge(choice, item, _explain_kept(item, needed))
        for item in items
        if item.path not in choice.going
    ]
    gone = sum(item.num_bytes for item in removed)
    return Pruning(
        dry_run=dry_run,
        removed=tuple(removed),
        kept=tuple(kept),
        num_bytes_before=num_bytes_before,
        num_bytes=num_bytes_before - gone if dry_run else measure_home(),
        max_bytes=None if limits.max_gb is None else int(limits.max_gb * 1e9),
    )


def _explain_kept(item: Item, needed: frozenset[str]) -> str:
    if item.precious:
        return item.precious
    is_needed = item.path.removesuffix("/checkpoints") in needed
    return "a run that stays has it" if is_needed else "within the limits"


def _judge(choice: Choice, item: Item, why: str) -> Judgement:
    return Judgement(
        path=item.path,
        kind=item.kind,
        num_bytes=item.num_bytes,
        days=choice.count_days(item),
        why=why,
    )
