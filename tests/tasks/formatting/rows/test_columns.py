from __future__ import annotations

import pytest

from configs.errors import RequestError
from tasks.formatting.rows.columns import check_columns, check_columns_found, rename_columns
from tasks.formatting.rows.conversations import Rejection
from tasks.formatting.rows.formats import detect_format

COLUMNS = {"question": "prompt", "answer": "completion"}


def test_mapped_columns_are_read_under_our_keys() -> None:
    row = {"question": "Why?", "answer": "So.", "kind": "x"}
    renamed = rename_columns(row, COLUMNS)
    assert renamed == {"prompt": "Why?", "completion": "So.", "kind": "x"}
    assert detect_format(renamed) == "prompt-completion"
    assert list(row) == ["question", "answer", "kind"]
    assert rename_columns({"kind": "x"}, COLUMNS) == {"kind": "x"}


def test_a_row_with_both_names_is_rejected() -> None:
    found = rename_columns({"question": "Why?", "prompt": "What?"}, COLUMNS)
    assert isinstance(found, Rejection)
    assert found.detail == 'the row has "question" beside "prompt", which data.columns makes one'


def test_two_columns_may_change_places() -> None:
    swapped = {"prompt": "completion", "completion": "prompt"}
    check_columns(swapped)
    assert rename_columns({"prompt": "a", "completion": "b"}, swapped) == {
        "completion": "a", "prompt": "b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "where", "message"),
    [
        (
            {"question": "prompt", "q": "prompt"}, "data.columns.q",
            '"q" and "question" are both mapped to "prompt"',
        ),
        ({"question": "ask"}, "data.columns.question", '"ask" is no key of a format'),
    ],
)  # fmt: skip
def test_a_map_that_makes_no_sense_is_refused(
    columns: dict[str, str], where: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        check_columns(columns)
    assert caught.value.where == where


def test_a_column_that_is_in_no_row_is_an_error() -> None:
    check_columns_found(COLUMNS, {"question", "answer"})
    with pytest.raises(RequestError, match='no row has the column "answer"'):
        check_columns_found(COLUMNS, {"question"})
