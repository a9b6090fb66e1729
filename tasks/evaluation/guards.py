"""Guards: metrics that must not get worse, on a split or on a slice of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from configs.schema import FieldValue, GateConfig, GuardConfig
from tasks.evaluation.pairing import Pairing
from tasks.evaluation.predictions import Prediction

GUARD_SPLITS = ("adversarial",)
"""Splits that guard the primary metrics wherever there are rows of them."""
MAX_SHOWN = 12  # values of a field that an error lists


@dataclass(frozen=True)
class Guard:
    """One metric that must not fall by `max_regression` or more."""

    metric: str
    split: str
    max_regression: float
    slice: Mapping[str, FieldValue] = field(default_factory=dict)
    """Only rows whose fields have these values; empty for all rows."""

    @property
    def slice_name(self) -> str:
        """The slice in words, such as `kind=explain`; empty for all rows."""
        return ", ".join(f"{n}={write_value(value)}" for n, value in sorted(self.slice.items()))

    @property
    def key(self) -> tuple[str, str, str]:
        """What is guarded: two guards of it are one."""
        return self.metric, self.split, self.slice_name


def describe_place(split: str, slice_name: str) -> str:
    """Return where something holds, in words.

    >>> describe_place("test", "kind=explain"), describe_place("test", "")
    ('test where kind=explain', 'test')
    """
    return f"{split} where {slice_name}" if slice_name else split


def describe_guard(guard: Guard) -> str:
    """Return what a guard is about, in words.

    >>> describe_guard(Guard("nll", "test", 0.1, {"kind": "explain"}))
    'nll on test where kind=explain'
    """
    return f"{guard.metric} on {describe_place(guard.split, guard.slice_name)}"


def write_value(value: object) -> str:
    """Return a field's value as a config says it, wherever it was read from.

    >>> write_value(True), write_value(3.0), write_value("3")
    ('true', '3', '3')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def belongs(fields: Mapping[str, object], wanted: Mapping[str, FieldValue]) -> bool:
    """Say whether a row's fields have the values of a slice."""
    return all(
        fields.get(name) is not None and write_value(fields[name]) == write_value(value)
        for name, value in wanted.items()
    )


def list_slices(
    wanted: str | Mapping[str, FieldValue], rows: Sequence[Mapping[str, object]]
) -> list[dict[str, FieldValue]]:
    """Return the slices that a config means: the one it describes, or one a value of its field.

    Args:
        wanted: A field's name, or values by field.
        rows: The fields of the split's rows.
    """
    if not isinstance(wanted, str):
        return [dict(wanted)]
    values = {write_value(row[wanted]) for row in rows if row.get(wanted) is not None}
    return [{wanted: value} for value in sorted(values)]


def find_gap(
    wanted: str | Mapping[str, FieldValue], rows: Sequence[Mapping[str, object]]
) -> tuple[str, str] | None:
    """Return why a slice has no rows, and what there is instead; None where it has some.

    >>> find_gap({"kind": "x"}, [{"kind": "a"}, {"kind": "b"}])
    ('no row has kind=x', 'kind=a, kind=b')
    """
    slices = list_slices(wanted, rows)
    if any(belongs(row, found) for row in rows for found in slices):
        return None
    known = {name for row in rows for name, value in row.items() if value is not None}
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if foreign := [name for name in names if name not in known]:
        return f"no row has a field {foreign[0]!r}", ", ".join(sorted(known)) or "none"
    values = sorted({f"{n}={write_value(row[n])}" for row in rows for n in names if n in row})
    shown = values[:MAX_SHOWN] + (["..."] if len(values) > MAX_SHOWN else [])
    return f"no row has {Guard('', '', 0, dict(slices[0])).slice_name}", ", ".join(shown)


def expand_guard(
    guard: GuardConfig, rows: Sequence[Mapping[str, object]], gate: GateConfig
) -> Iterator[Guard]:
    """Yield the guards that one entry of `gate.guards` means on the rows of its split."""
    limit = gate.max_regression if guard.max_regression is None else guard.max_regression
    for found in list_slices(guard.slice, rows):
        yield Guard(guard.metric, guard.split, limit, found)


def list_guards(
    gate: GateConfig,
    primary_metrics: Sequence[str],
    fields: Mapping[str, Sequence[Mapping[str, object]]],
    splits: Sequence[str] = GUARD_SPLITS,
) -> list[Guard]:
    """Return all guards: the primary metrics on `splits`, and those of the config.

    One of the config takes the place of another one of the same metric, split and slice.

    Args:
        gate: The rule's settings.
        primary_metrics: The metrics that decide.
        fields: The fields of each split's rows, for slices by all values of a field.
        splits: What guards the primary metrics where it has rows.
    """
    usual = [
        Guard(metric, split, gate.max_regression)
        for split in splits
        if fields.get(split)
        for metric in primary_metrics
    ]
    asked = [
        guard
        for entry in gate.guards
        for guard in expand_guard(entry, fields.get(entry.split, ()), gate)
    ]
    return list({guard.key: guard for guard in [*usual, *asked]}.values())


def select_slice(pairing: Pairing, guard: Guard) -> Pairing:
    """Return the paired rows that a guard is about."""
    if not guard.slice:
        return pairing
    chosen = [belongs(row.fields, guard.slice) for row in pairing.candidate_rows]
    return replace(
        pairing,
        candidate_rows=keep(pairing.candidate_rows, chosen),
        opponent_rows=keep(pairing.opponent_rows, chosen),
    )


def keep(rows: Sequence[Prediction], chosen: Sequence[bool]) -> list[Prediction]:
    """Return the rows that were chosen."""
    return [row for row, is_chosen in zip(rows, chosen, strict=True) if is_chosen]
