from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from tasks.formatting.files import streams
from tasks.formatting.files.csv_rows import read_csv
from tasks.formatting.files.json_rows import ReadProblem

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def read(content: bytes) -> list[tuple[int, dict[str, str] | ReadProblem]]:
    return list(read_csv(io.BytesIO(content), "a.csv"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"q;a\r\n1,5;b\r\n", [(2, {"q": "1,5", "a": "b"})]),
        (b"q\ta\n1;2\tb\n", [(2, {"q": "1;2", "a": "b"})]),
        (b"sep=;\r\nq;a\r\n1;2\r\n", [(3, {"q": "1", "a": "2"})]),
        (b'"sep=\t"\r\nq\ta\r\n1\t2\r\n', [(3, {"q": "1", "a": "2"})]),
        (b'"q;x;y",a\n1,2\n', [(2, {"q;x;y": "1", "a": "2"})]),
        (b"text\na;b\nc,\n", [(2, {"text": "a;b"}), (3, {"text": "c"})]),
        (b"\n\nq,a\n1,2\n\n,\n3,4\n,\n,\n", [(4, {"q": "1", "a": "2"}), (7, {"q": "3", "a": "4"})]),
        (b"q;a;;\n1;2;;\n3;4\n", [(2, {"q": "1", "a": "2"}), (3, {"q": "3", "a": "4"})]),
        (b'q,a\r1,"x\r\ny"\r\n3,', [(2, {"q": "1", "a": "x\r\ny"}), (4, {"q": "3", "a": ""})]),
    ],
)  # fmt: skip
def test_what_spreadsheets_write_is_read(
    content: bytes, expected: list[tuple[int, dict[str, str]]]
) -> None:
    assert read(content) == expected


def test_values_beyond_the_header_are_a_problem() -> None:
    rows = read(b"q;a;\n1;2;3\n")
    assert rows == [(2, ReadProblem("broken_csv", "broken CSV: found 3 values, the header has 2"))]


def test_windows_encoding_is_named_with_what_to_do() -> None:
    ((line, problem),) = read("prompt;completion\nça va?;très bien\n".encode("cp1252"))
    assert isinstance(problem, ReadProblem)
    assert (line, problem.reason) == (2, "broken_encoding")
    assert 'byte 0xE7, in Windows-1252 "ç"' in problem.detail
    assert problem.detail.endswith("save the file as UTF-8")
    with pytest.raises(RequestError, match=r"a\.csv:1: in the header the text is not valid UTF-8"):
        read("clé;réponse\na;b\n".encode("cp1252"))


def test_a_quote_that_swallows_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_LINE_BYTES", 100)
    with pytest.raises(RequestError, match=r"a\.csv:2: a quote is opened here and never closed"):
        read(b'q,a\n1,"2\n' + b"3,4\n" * 90 + b'5,"6"\n')


@given(
    rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(deadline=None)
def test_every_delimiter_gives_back_what_was_written(
    rows: list[tuple[str, str]], delimiter: str, end: str
) -> None:
    file = io.StringIO(newline="")
    # With LF ends Python's writer leaves a CR in a value unquoted, which ends a line.
    quoting = csv.QUOTE_ALL if end == "\n" else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([("prompt", "completion"), *rows])
    found = [tuple(row.values()) for _, row in read(file.getvalue().encode()) if type(row) is dict]
    assert found == [row for row in rows if any(row)]
