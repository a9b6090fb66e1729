"""Keys of rows that go by other names (`data.columns`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from configs.errors import RequestError
from tasks.formatting.files.readers import Row
from tasks.formatting.rows.conversations import Rejection
from tasks.formatting.rows.formats import FORMAT_KEYS, SHARED_KEYS

OPTIONAL_KEYS = frozenset({"input", "context", "history"})
KNOWN_KEYS = frozenset(
    {key for sets in FORMAT_KEYS.values() for keys in sets for key in keys}
    | OPTIONAL_KEYS
    | SHARED_KEYS
)


def check_columns(columns: Mapping[str, str]) -> None:
    """Check that `data.columns` maps foreign keys to known ones, each to one of its own.

    Raises:
        RequestError: A target is no key of a format, or two keys are mapped to one.
    """
    first: dict[str, str] = {}
    for name, key in columns.items():
        where = f"data.columns.{name}"
        if key not in KNOWN_KEYS:
            allowed = ", ".join(sorted(KNOWN_KEYS))
            raise RequestError(
                where=where, message=f'"{key}" is no key of a format', allowed=allowed
            )
        if key in first:
            raise RequestError(
                where=where,
                message=f'"{name}" and "{first[key]}" are both mapped to "{key}"',
                allowed="one column for each key",
            )
        first[key] = name


def rename_columns(row: Row, columns: Mapping[str, str]) -> Row | Rejection:
    """Return a row under the keys that `data.columns` gives its columns.

    Args:
        row: The row as read; it is not changed.
        columns: Foreign keys and what they stand for.

    Returns:
        The row, or why it is invalid: it has a mapped column beside the key itself.
    """
    if columns.keys().isdisjoint(row):
        return row
    mapped = {name: columns.get(name, name) for name in row}
    if len(set(mapped.values())) < len(mapped):
        doubled = sorted(n for n in columns if n in row and columns[n] in row and columns[n] != n)
        pairs = " and ".join(f'"{name}" beside "{columns[name]}"' for name in doubled)
        return Rejection("two_columns", f"the row has {pairs}, which data.columns makes one")
    return {mapped[name]: value for name, value in row.items()}


def check_columns_found(columns: Mapping[str, str], found: Collection[str]) -> None:
    """Check that each column of `data.columns` stands in at least one row.

    Args:
        columns: Foreign keys and what they stand for.
        found: Every key of `columns` that was seen in a row.

    Raises:
        RequestError: One is in no row.
    """
    for name in columns:
        if name not in found:
            raise RequestError(
                where=f"data.columns.{name}",
                message=f'no row has the column "{name}"',
                hint="column names are read as they are spelt, upper and lower case apart",
            )
