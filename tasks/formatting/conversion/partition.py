"""Splitting raw files: each row goes, as it was read, to the file of its group's split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from configs.errors import RequestError
from configs.schema import DataConfig, FormatName
from tasks.formatting.cleaning.row_cleaning import Cleaned, clean_example, needs_cleaning
from tasks.formatting.files.json_rows import ReadProblem
from tasks.formatting.files.raw_lines import read_raw_rows
from tasks.formatting.files.readers import Row, SourceFile
from tasks.formatting.intake.row_intake import ID_CHARS, Sightings, agree_format, rename_row
from tasks.formatting.intake.row_intake import LeftOut as UnkeptRow
from tasks.formatting.rows.columns import check_columns
from tasks.formatting.rows.conversations import Conversation, Rejection
from tasks.formatting.rows.examples import Example, digest_prompt
from tasks.formatting.rows.formats import check_roles, detect_missing_keys, parse_row
from tasks.formatting.splits.split_hash import hash_group, place_hashes

# Where hone looks for each split in a folder.
FILES = {
    "train": "train.jsonl",
    "validation": "eval/validation.jsonl",
    "test": "eval/test.jsonl",
    "dev": "eval/dev.jsonl",
}


@dataclass(frozen=True)
class SplitShares:
    """Shares of the groups; what validation, dev and test leave is training."""

    validation: float
    dev: float
    test: float
    version: int = 1

    def assign(self, group: str) -> str:
        """Return a group's split: where a run of this `data.split_version` would put it.

        >>> SplitShares(validation=0.1, dev=0.0, test=0.1).assign("flowroll")
        'train'
        """
        hashes = np.array([hash_group(group)], np.uint64)
        place = float(place_hashes(hashes, self.version)[0])
        if place < self.validation:
            return "validation"
        if place >= 1 - self.test:
            return "test"
        return "dev" if place < self.validation + self.dev else "train"


@dataclass(frozen=True)
class LeftOut:
    """A broken row."""

    origin: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Partition:
    """What became of the rows of some files."""

    rows: dict[str, int]
    groups: dict[str, int]
    left_out: tuple[LeftOut, ...]
    num_shared_prompts: int
    """Prompts that stand in more than one split, which only a grouping by field can bring."""


@dataclass(frozen=True)
class _Placed:
    """An understood row, ready to be written."""

    raw: bytes
    group: str
    prompt: str


def partition_files(
    files: Sequence[SourceFile], out: Path, *, shares: SplitShares, data: DataConfig
) -> Partition:
    """Write each row of some files to `out`, into the file of its split.

    Args:
        files: Files of rows in any format.
        out: An existing folder; it gets the files of `FILES` that have rows.
        shares: How much goes where.
        data: How rows are understood, and the field that groups them (`group_by`).

    Raises:
        RequestError: A file cannot be read, or has rows of several formats.
    """
    check_roles(data.roles)
    check_columns(data.columns)
    rows: Counter[str] = Counter()
    groups: dict[str, str] = {}
    prompts: dict[str, str] = {}
    shared: set[str] = set()
    left_out: list[LeftOut] = []
    with ExitStack() as stack:
        opened: dict[str, IO[bytes]] = {}
        for found in (found for file in files for found in _place_rows(file, data)):
            if isinstance(found, LeftOut):
                left_out.append(found)
                continue
            split = groups.get(found.group) or shares.assign(found.group)
            if split not in opened:
                opened[split] = stack.enter_context(_create(out / FILES[split]))
            opened[split].write(found.raw)
            rows[split] += 1
            groups[found.group] = split
            if prompts.setdefault(found.prompt, split) != split:
                shared.add(found.prompt)
    counts = Counter(groups.values())
    names = [name for name in FILES if rows[name]]
    return Partition(
        {name: rows[name] for name in names},
        {name: counts[name] for name in names},
        tuple(left_out),
        len(shared),
    )


def _create(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def _place_rows(file: SourceFile, data: DataConfig) -> Iterator[_Placed | LeftOut]:
    name, seen = data.format, Sightings()
    for line, raw, raw_line in read_raw_rows(file):
        origin = f"{file.name}:{line}"
        if isinstance(raw, ReadProblem):
            yield LeftOut(origin, raw.reason, raw.detail)
            continue
        row = rename_row(raw, data, seen)
        if isinstance(row, UnkeptRow):
            yield LeftOut(origin, row.reason, row.detail)
            continue
        if data.format is None:
            name = agree_format(name, row, origin)
        yield _place_row(row, raw_line, origin, name, data)


def _place_row(
    row: Row, raw_line: bytes, origin: str, name: FormatName | None, data: DataConfig
) -> _Placed | LeftOut:
    if name is None:
        return LeftOut(origin, "unknown_format", detect_missing_keys(row, "messages"))
    if data.group_by and not isinstance(row.get(data.group_by), str | int):
        return LeftOut(origin, "missing_group", f'no text or number under "{data.group_by}"')
    parsed = parse_row(row, name, data.roles, data.system_prompt)
    if isinstance(parsed, Rejection):
        return LeftOut(origin, parsed.reason, parsed.detail)
    group, prompt = _find_group(parsed, str(row[data.group_by]) if data.group_by else "", data)
    return _Placed(raw_line, group, prompt)


def _find_group(parsed: Conversation, group: str, data: DataConfig) -> tuple[str, str]:
    """Return the group key and the prompt that the format stage sees, after cleaning the row."""
    example = Example("", group, parsed.messages, parsed.text, "")
    if needs_cleaning(data):
        cleaned = clean_example(example, data, is_training=False)
        assert isinstance(cleaned, Cleaned), "only training rows are left out"
        example = cleaned.example
    prompt = digest_prompt(example.messages, example.text)[:ID_CHARS]
    return example.group or prompt, prompt


def list_left_out(left_out: Sequence[LeftOut], num_listed: int = 10) -> tuple[str, ...]:
    """Return the first rows that were left out, and how many more there are."""
    more = len(left_out) - num_listed
    lines = [f"{row.origin}: {row.detail}" for row in left_out[:num_listed]]
    return (*lines, *([f"and {more} more"] if more > 0 else []))


def build_shares(percentages: Mapping[str, float], version: int = 1) -> SplitShares:
    """Return the shares of percentages that add up to 100.

    Raises:
        RequestError: They add up to something else, or leave no training rows.
    """
    total = sum(percentages.values())
    if abs(total - 100) > 1e-6:
        given = " + ".join(f"--{name} {value:g}" for name, value in percentages.items())
        raise RequestError(
            message=f"{given} is {total:g}", allowed="percentages that add up to 100"
        )
    if not percentages["train"]:
        raise RequestError(message="no training rows", where="--train", allowed="more than 0")
    validation, dev, test = (percentages[name] / 100 for name in ("validation", "dev", "test"))
    return SplitShares(validation, dev, test, version)
