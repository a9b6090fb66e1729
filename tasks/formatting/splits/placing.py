"""What placing decides, said row by row: splits, running numbers, and why rows were filtered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.intake.data_intake import (
    Intake,
    ReadColumns,
    Shard,
    number_repeats,
    read_columns,
    read_signatures,
)
from tasks.formatting.intake.row_shards import load_row, read_batches
from tasks.formatting.ledger import NUM_LISTED
from tasks.formatting.splits.assignments import Assignments
from tasks.formatting.splits.placement import REASONS, Placement, RowColumns, place_rows
from tasks.formatting.splits.split_hash import plan_splits

OVERLAPS = ("overlap", "overlap_group")
SAYINGS = {
    "duplicate": "repeats {other}",
    "near_duplicate": "nearly repeats {other}",
    "overlap": "has the prompt of {other} of {place}",
    "overlap_group": 'is of the group "{group}", as is {other} of {place}',
    "near_test": "nearly repeats {other} of {place}",
    "near_validation": "nearly repeats {other} of {place}",
}


@dataclass(frozen=True)
class Filtered:
    """Why a row was filtered, and the row that it repeats or stands near."""

    reason: str
    other: str
    place: str

    def describe(self, group: str) -> str:
        """Return what was found, in words."""
        return SAYINGS[self.reason].format(other=self.other, place=self.place, group=group)


@dataclass(frozen=True)
class PlacedRows:
    """All rows with their places."""

    intake: Intake
    columns: ReadColumns
    repeats: NDArray[np.int64]
    """How many earlier rows of its source have a row's content."""
    placement: Placement

    def describe_origin(self, row: int) -> str:
        """Return the file and line of a row."""
        return f"{self.intake.files[self.columns.file[row]]}:{self.columns.line[row]}"

    def list_filtered(self, shard: Shard) -> dict[int, Filtered]:
        """Return the rows of a shard that placing filtered, by their place in it."""
        found = np.flatnonzero(self.placement.reason[shard.rows])
        return {int(row): self.find_filtered(shard.first_row + int(row)) for row in found}

    def find_filtered(self, row: int) -> Filtered:
        """Return why a row was filtered."""
        reason, other = REASONS[self.placement.reason[row]], int(self.placement.other[row])
        if other < 0:
            place = reason.removeprefix("near_")
            return Filtered(reason, "a row of an earlier version", place)
        split = self.placement.split[other]
        place = self.placement.splits[split] if split >= 0 else ""
        return Filtered(reason, self.describe_origin(other), place)


def place_intake(intake: Intake, data: DataConfig, stored: Assignments, work: Path) -> PlacedRows:
    """Filter repeated and leaking rows and give each row that is left its split.

    Args:
        intake: What was read.
        data: Which rows are filtered, and how the rest is split.
        stored: The splits given so far.
        work: A folder for what does not fit the memory.

    Raises:
        RequestError: Training prompts or groups stand in an evaluation set, and that is an error.
    """
    columns = read_columns(intake)
    is_compared = data.near_duplicates != "off"
    sources = np.empty(intake.num_rows, np.int16)
    for shard in intake.shards:
        sources[shard.rows] = intake.sources.index(shard.source)
    rows = RowColumns(
        sources=intake.sources,
        source=sources,
        kept=columns.outcome == 0,
        content=columns.content,
        prompt=columns.prompt,
        group=columns.group,
        signatures=read_signatures(intake, work / "signatures") if is_compared else None,
    )
    plan = plan_splits(data, set(intake.sources[1:]))
    placed = PlacedRows(
        intake, columns, number_repeats(sources, columns.content),
        place_rows(rows, data, plan, stored),
    )  # fmt: skip
    if data.overlap == "error":
        check_overlap(placed)
    return placed


def check_overlap(placed: PlacedRows) -> None:
    """Refuse training rows whose prompt or group stands in an evaluation set.

    Raises:
        RequestError: There are some; the first ones are listed.
    """
    codes = [REASONS.index(reason) for reason in OVERLAPS]
    overlapping = np.flatnonzero(np.isin(placed.placement.reason, codes))
    if not len(overlapping):
        return
    found = {REASONS[placed.placement.reason[row]] for row in overlapping}
    what = {
        ("overlap",): "prompts",
        ("overlap_group",): "groups (data.group_by)",
        OVERLAPS: "prompts or groups (data.group_by)",
    }[tuple(sorted(found))]
    more = len(overlapping) - NUM_LISTED
    listed = tuple(_describe_overlap(placed, int(row)) for row in overlapping[:NUM_LISTED])
    raise RequestError(
        message=f"the {what} of {len(overlapping)} training rows stand in evaluation sets",
        allowed="no prompt on both sides: the model would be tested on what it has seen"
        if what == "prompts"
        else "no group on both sides: its rows are not independent",
        hint="remove these rows, or leave them out with data.overlap: filter",
        problems=listed + ((f"and {more} more",) if more > 0 else ()),
    )


def _describe_overlap(placed: PlacedRows, row: int) -> str:
    shard = next(s for s in placed.intake.shards if s.rows.start <= row < s.rows.stop)
    found = placed.find_filtered(row)
    return f"{placed.describe_origin(row)}: {found.describe(read_group(shard, row))}"


def read_group(shard: Shard, row: int) -> str:
    """Return the group key of a row."""
    offset = row - shard.first_row
    for batch in read_batches(shard.path, ("example",)):
        if offset < batch.num_rows:
            group: str = load_row(batch["example"][offset].as_py())["group"]
            return group
        offset -= batch.num_rows
    raise AssertionError("the row stands in its shard")
