from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from tasks.formatting.files import json_documents, streams
from tasks.formatting.files.json_documents import read_json_document
from tasks.formatting.files.json_rows import ReadProblem

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)  # fmt: skip
ROWS = st.lists(st.dictionaries(st.text(max_size=3), VALUE, max_size=3), min_size=1, max_size=4)


def read(content: bytes, chunk_bytes: int = 1 << 20) -> list[tuple[int, Any]] | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_documents, "CHUNK_BYTES", chunk_bytes)
        try:
            return list(read_json_document(io.BytesIO(content), "a.json"))
        except RequestError as err:
            return str(err)


@given(rows=ROWS, indent=st.none() | st.integers(0, 2), is_ascii=st.booleans(), data=st.data())
@settings(deadline=None)
def test_arrays_and_series_give_their_objects(
    rows: list[dict[str, Any]], indent: int | None, is_ascii: bool, data: st.DataObject
) -> None:
    chunk_bytes = data.draw(st.integers(1, 40))
    array = json.dumps(rows, indent=indent, ensure_ascii=is_ascii)
    series = "\n".join(json.dumps(row, indent=indent, ensure_ascii=is_ascii) for row in rows)
    for text in (array, series):
        found = read(f"\n {text} \n".encode(), chunk_bytes)
        assert [row for _, row in found] == rows


PIECES = st.sampled_from(
    ['{"a": 1}', '{"a":', '"b', "}", "{", "[", "]", ",", "\n", "\n{", " ", "12", "-", "3.5e2",
     '{"a": "\\ud83d\\ude00"}', '{"a": "\\u00', "é", "NaN", "tru", "e", "null", "\\", '"',
     "\xff\x00"]
)  # fmt: skip


@given(pieces=st.lists(PIECES, max_size=12), chunk_bytes=st.integers(1, 9))
@example(pieces=["[", "12", "12", "]"], chunk_bytes=2)
@example(pieces=['{"a":', "}", "\n", '{"a": 1}'], chunk_bytes=6)
@settings(deadline=None, max_examples=400)
def test_where_a_chunk_ends_changes_nothing(pieces: list[str], chunk_bytes: int) -> None:
    content = "".join(pieces).encode("latin-1" if "\xff\x00" in pieces else "utf-8")
    assert read(content, chunk_bytes) == read(content)


def test_a_value_without_an_end_is_a_problem_and_the_next_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 2000)
    content = b'{"a": 1}\n{"a": [\n' + b"0, " * 3000 + b'\n{"b": 2}\n'
    (first, problem, last) = read(content, 100)
    assert first == (1, {"a": 1})
    assert problem[0] == 2
    assert isinstance(problem[1], ReadProblem)
    assert "no end within" in problem[1].detail
    assert last == (4, {"b": 2})


def test_an_error_is_told_where_it_stands() -> None:
    content = b'[{"a": 1},\n' * 1 + b' {"b": 2}, {"c"\n  3}]'
    assert str(read(content, 5)).startswith(
        "a.json:2: broken JSON: Expecting ':' delimiter (line 3, column 3)"
    )
