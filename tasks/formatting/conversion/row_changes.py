"""What became of the rows between two versions of a file: added, removed, changed, unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from configs.schema import DataConfig
from tasks.formatting.files.json_rows import ReadProblem
from tasks.formatting.files.readers import NumberedRow, Row
from tasks.formatting.rows.columns import rename_columns
from tasks.formatting.rows.examples import digest_prompt
from tasks.formatting.rows.formats import Rejection, detect_format, parse_row
from tasks.records.digests import digest_value

DIGEST_BYTES = 16


@dataclass(frozen=True)
class RowKey:
    """What a row is compared by."""

    content: bytes
    """Digest of its values; the order of its keys and the file's layout do not count."""
    prompt: bytes
    """Digest of its prompt, by which a changed row is known again; its content's where it is not
    understood, so that a broken row is only ever added or removed."""


@dataclass(frozen=True)
class RowChanges:
    """Counts of the rows that two versions do not share, and of those that they do."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    """Rows with a prompt that the other version has too, and another content."""
    unchanged: int = 0


def count_keys(rows: Iterator[NumberedRow], data: DataConfig) -> Counter[RowKey]:
    """Count the rows of a file by what they are compared by; a repeated row counts each time.

    Args:
        rows: The rows as read, with those that could not be.
        data: How rows are understood.
    """
    counts: Counter[RowKey] = Counter()
    for _, row in rows:
        if isinstance(row, ReadProblem):
            content = _shorten(digest_value([row.reason, row.detail]))
            counts[RowKey(content, content)] += 1
        else:
            counts[_find_key(row, data)] += 1
    return counts


def compare_rows(first: Counter[RowKey], second: Counter[RowKey]) -> RowChanges:
    """Compare the rows of two versions of a file.

    A row of one version that has the prompt of an unmatched row of the other is changed; what is
    left over was removed or added.
    """
    gone, new = first - second, second - first
    before, after = _count_prompts(gone), _count_prompts(new)
    changed = (before & after).total()
    return RowChanges(
        added=new.total() - changed,
        removed=gone.total() - changed,
        changed=changed,
        unchanged=(first & second).total(),
    )


def _find_key(row: Row, data: DataConfig) -> RowKey:
    content = _shorten(digest_value(row))
    renamed = rename_columns(row, data.columns)
    if isinstance(renamed, Rejection):
        return RowKey(content, content)
    name = data.format or detect_format(renamed)
    parsed = parse_row(renamed, name, data.roles, None) if name else None
    if parsed is None or isinstance(parsed, Rejection):
        return RowKey(content, content)
    return RowKey(content, _shorten(digest_prompt(parsed.messages, parsed.text)))


def _count_prompts(rows: Counter[RowKey]) -> Counter[bytes]:
    prompts: Counter[bytes] = Counter()
    for key, count in rows.items():
        prompts[key.prompt] += count
    return prompts


def _shorten(digest: str) -> bytes:
    return bytes.fromhex(digest)[:DIGEST_BYTES]
