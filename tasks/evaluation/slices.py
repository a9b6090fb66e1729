"""Slices of a split: the rows that share the value of a field, and their metrics.

A prediction carries the scalar fields of its row as `fields`; a slice is named by a field and a
value, written as text. Rows without the field are the slice `(none)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from configs.errors import RequestError
from tasks.evaluation.metrics import compute_metrics
from tasks.evaluation.predictions import Prediction

KEY = "evaluation.slice_by"
NO_VALUE = "(none)"
MAX_SLICES = 50  # a field with more values names its rows, not kinds of rows

SliceMetrics = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By field, then by value, then by metric; `rows` is the number of rows."""


def name_slice(fields: Mapping[str, Any], field: str) -> str:
    """Return the slice of a field that a row with these fields belongs to.

    Booleans are `true` and `false`, as in JSON; other values are their text.

    >>> name_slice({"kind": "write"}, "kind"), name_slice({}, "kind"), name_slice({"a": True}, "a")
    ('write', '(none)', 'true')
    """
    value = fields.get(field)
    if value is None:
        return NO_VALUE
    return str(value).lower() if isinstance(value, bool) else str(value)


def select_slice(rows: Iterable[Prediction], field: str, value: str) -> list[Prediction]:
    """Return the rows of one slice, in their order."""
    return [row for row in rows if name_slice(row.fields, field) == value]


def split_slices(rows: Iterable[Prediction], field: str) -> dict[str, list[Prediction]]:
    """Return the rows of each slice of a field, by value, sorted."""
    slices: dict[str, list[Prediction]] = {}
    for row in rows:
        slices.setdefault(name_slice(row.fields, field), []).append(row)
    return dict(sorted(slices.items()))


def compute_slices(
    rows: Sequence[Prediction], slice_by: Iterable[str], metrics: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the metrics of each slice of each field, and how many rows it has."""
    return {
        field: {
            value: {"rows": len(found), **compute_metrics(found, metrics)}
            for value, found in split_slices(rows, field).items()
        }
        for field in slice_by
    }


def slice_splits(
    splits: Mapping[str, Sequence[Prediction]], slice_by: Sequence[str], metrics: Sequence[str]
) -> dict[str, SliceMetrics]:
    """Return the metrics of each slice, by split; nothing where no field is asked for."""
    if not slice_by:
        return {}
    return {name: compute_slices(rows, slice_by, metrics) for name, rows in splits.items()}


def check_slices(fields: Iterable[Mapping[str, Any]], slice_by: Iterable[str]) -> None:
    """Refuse, before anything is computed, a field that does not cut the rows into few slices.

    Args:
        fields: The fields of each row.
        slice_by: The fields that are asked for.

    Raises:
        RequestError: No row has the field, or it has too many values.
    """
    rows = list(fields)
    known = sorted({name for row in rows for name in row})
    for field in slice_by:
        values = {name_slice(row, field) for row in rows}
        if field not in known:
            raise RequestError(
                where=KEY,
                message=f"no row has a field {field}",
                allowed=", ".join(known) or "none: the rows have nothing besides their text",
            )
        if len(values) > MAX_SLICES:
            raise RequestError(
                where=KEY,
                message=f"{field} has {len(values)} values",
                allowed=f"a field with at most {MAX_SLICES} values",
            )
