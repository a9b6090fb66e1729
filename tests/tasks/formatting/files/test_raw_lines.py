from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import RequestError
from tasks.formatting.files.json_rows import ReadProblem
from tasks.formatting.files.raw_lines import dump_line, read_raw_rows
from tasks.formatting.files.readers import SourceFile, read_rows

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=8,
)  # fmt: skip
LINES = st.one_of(
    st.builds(lambda value: json.dumps({"text": value}).encode(), JSON_VALUES),
    st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")),
    st.just(b""),
)


@given(st.lists(LINES, min_size=1, max_size=8), st.sampled_from([b"\n", b"\r\n"]))
def test_each_row_comes_with_its_own_line(lines: list[bytes], end: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b'{"text": "first"}\n' + end.join(lines))
        file = SourceFile(path, "rows.jsonl")
        try:
            expected = list(read_rows(file))
        except RequestError:
            with pytest.raises(RequestError):
                list(read_raw_rows(file))
            return
        content = path.read_bytes().split(b"\n")
        found = list(read_raw_rows(file))
    assert [(line, row) for line, row, _ in found] == expected
    for line, row, raw in found:
        if not isinstance(row, ReadProblem):
            assert raw == content[line - 1] + b"\n"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_the_byte_order_mark_is_no_part_of_a_line(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(mark + b'{"text": 1}\n')
    ((line, row, raw),) = read_raw_rows(SourceFile(path, "rows.jsonl"))
    assert (line, row, raw) == (1, {"text": 1}, b'{"text": 1}\n')


def test_rows_of_other_files_become_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n{"text": "é"},\n{"text":\n"b"}]', encoding="utf-8")
    rows = list(read_raw_rows(SourceFile(path, "rows.json")))
    assert [raw for _, _, raw in rows] == ['{"text":"é"}\n'.encode(), b'{"text":"b"}\n']


@given(st.dictionaries(st.text("abc"), JSON_VALUES))
def test_a_dumped_line_reads_back(row: dict[str, Any]) -> None:
    line = dump_line(row)
    assert line.count(b"\n") == 1
    assert json.loads(line) == row
