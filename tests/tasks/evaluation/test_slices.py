import doctest

import pytest

from configs.errors import RequestError
from tasks.evaluation import slices
from tasks.evaluation.slices import check_slices, compute_slices, select_slice, split_slices
from tests.tasks.evaluation.rows import make_row

ROWS = [
    make_row(0, exact=1.0, fields={"kind": "write", "hard": True, "level": 2}),
    make_row(1, exact=0.0, fields={"kind": "write", "hard": False, "level": None}),
    make_row(2, exact=1.0, fields={"kind": "explain"}),
]


def test_every_row_is_in_one_slice_of_a_field() -> None:
    ids = {value: [row.id for row in rows] for value, rows in split_slices(ROWS, "kind").items()}
    assert ids == {"explain": ["id2"], "write": ["id0", "id1"]}
    assert list(split_slices(ROWS, "hard")) == ["(none)", "false", "true"]
    assert list(split_slices(ROWS, "level")) == ["(none)", "2"]
    assert [row.id for row in select_slice(ROWS, "level", "2")] == ["id0"]


def test_metrics_by_slice() -> None:
    found = compute_slices(ROWS, ("kind", "hard"), ["exact_match"])
    assert found["kind"] == {
        "explain": {"rows": 1, "exact_match": 1},
        "write": {"rows": 2, "exact_match": 0.5},
    }
    assert sum(values["rows"] for values in found["hard"].values()) == 3
    assert compute_slices(ROWS, (), ["exact_match"]) == {}


def test_fields_that_no_row_has_or_with_too_many_values_are_refused() -> None:
    fields = [{"kind": "a", "number": number} for number in range(51)]
    check_slices(fields, ("kind",))
    with pytest.raises(RequestError, match=r"no row has a field kid.*allowed: kind, number"):
        check_slices(fields, ("kid",))
    with pytest.raises(RequestError, match=r"number has 51 values.*at most 50"):
        check_slices(fields, ("number",))


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(slices).failed == 0
