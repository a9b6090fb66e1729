"""From a row as it was read to an example, or to the reason why there is none."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from configs.errors import RequestError
from configs.schema import DataConfig, FormatName
from tasks.formatting.cleaning.row_cleaning import clean_example
from tasks.formatting.files.readers import Row
from tasks.formatting.ledger import Outcome
from tasks.formatting.rows.columns import rename_columns
from tasks.formatting.rows.conversations import Conversation, Rejection
from tasks.formatting.rows.examples import Example, digest_content, digest_prompt
from tasks.formatting.rows.formats import (
    detect_format,
    detect_missing_keys,
    filter_conversation,
    parse_row,
)
from tasks.formatting.splits.split_hash import hash_group

ID_CHARS = 16
SCALARS = (str, int, float)  # true and false are whole numbers too


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How a row that is not kept ended, and why."""

    outcome: Outcome
    reason: str
    detail: str


@dataclass
class Sightings:
    """What was met in rows, counted."""

    mapped_roles: Counter[str] = field(default_factory=Counter)
    """Turns by the foreign name of their role."""
    findings: Counter[str] = field(default_factory=Counter)
    """Rows in which cleaning found something, by what it is."""
    columns: Counter[str] = field(default_factory=Counter)
    """Rows by the foreign name of a column."""

    def merge(self, other: Sightings) -> None:
        """Add what was met elsewhere."""
        self.mapped_roles += other.mapped_roles
        self.findings += other.findings
        self.columns += other.columns

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Sightings:
        """Return the sightings whose fields were stored."""
        return cls(**{name: Counter(counts) for name, counts in value.items()})


def rename_row(row: Row, data: DataConfig, seen: Sightings) -> Row | LeftOut:
    """Return a row under the keys that `data.columns` gives its columns."""
    if not data.columns:
        return row
    seen.columns.update(data.columns.keys() & row.keys())
    renamed = rename_columns(row, data.columns)
    if isinstance(renamed, Rejection):
        return LeftOut("invalid", renamed.reason, renamed.detail)
    return renamed


def agree_format(known: FormatName | None, row: Row, where: str) -> FormatName | None:
    """Return the format of a file after one more of its rows.

    Raises:
        RequestError: The row has another format than those before it.
    """
    found = detect_format(row)
    if known and found and found != known:
        raise RequestError(
            where=where,
            message=f"this row has the format {found}, the rows before it {known}",
            allowed="one format a file",
            hint="split the file, or name the format with data.format",
        )
    return known or found


def understand_row(
    row: Row, name: FormatName | None, group: Any, data: DataConfig, seen: Sightings
) -> Example | LeftOut:
    """Return what a row says; its id and origin come later.

    Args:
        row: The row, under the keys of the formats.
        name: The format of its file; None when no row has shown it yet.
        group: The row's value of `data.group_by`.
        data: How rows are understood.
        seen: Counts what is met.
    """
    if name is None:
        return LeftOut("invalid", "unknown_format", detect_missing_keys(row, "messages"))
    if data.group_by and not isinstance(group, str | int):
        detail = f'no text or number under "{data.group_by}", which data.group_by names'
        return LeftOut("invalid", "missing_group", detail)
    parsed = parse_row(row, name, data.roles, data.system_prompt)
    if isinstance(parsed, Rejection):
        return LeftOut("invalid", parsed.reason, parsed.detail)
    if parsed.mapped_roles:
        seen.mapped_roles.update(parsed.mapped_roles)
    if data.undesired == "filter" and (unwanted := filter_conversation(parsed)):
        return LeftOut("filtered", unwanted.reason, unwanted.detail)
    return _make_example(row, parsed, str(group) if data.group_by else "")


def clean_row(
    example: Example, data: DataConfig, is_training: bool, seen: Sightings
) -> Example | LeftOut:
    """Return a row as the rules of the configuration leave it, or the rule that filters it."""
    cleaned = clean_example(example, data, is_training=is_training)
    if isinstance(cleaned, Rejection):
        return LeftOut("filtered", cleaned.reason, cleaned.detail)
    seen.findings.update(cleaned.findings)
    return cleaned.example


def hash_example(example: Example) -> tuple[str, bytes]:
    """Return an example's group key, and the hashes that it is compared by.

    Returns:
        The group key, by default 16 digits of the prompt's digest, and 8 bytes each of the content,
        the prompt and the group, most significant first.
    """
    content = digest_content(example.messages, example.text, example.tools, example.rejected)
    prompt = digest_prompt(example.messages, example.text)[:ID_CHARS]
    group = example.group or prompt
    return group, bytes.fromhex(content[:ID_CHARS] + prompt) + hash_group(group).to_bytes(8, "big")


def _make_example(row: Row, parsed: Conversation, group: str) -> Example:
    keys = parsed.keys
    return Example(
        id="",
        group=group,
        messages=parsed.messages,
        text=parsed.text,
        origin="",
        fields={
            k: v for k, v in row.items() if k not in keys and (type(v) is str or _is_scalar(v))
        },
        tools=parsed.tools,
        rejected=parsed.rejected,
        rejected_at=parsed.rejected_at,
        label=parsed.label,
    )


def _is_scalar(value: Any) -> bool:
    """Return whether a value is one; what is no number, such as NaN, is none, as null is none."""
    return isinstance(value, SCALARS) and not (isinstance(value, float) and not isfinite(value))
