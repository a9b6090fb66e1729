from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import feather

from tasks.formatting.files import arrow_rows
from tasks.formatting.files.arrow_rows import read_columns
from tasks.formatting.files.json_rows import ReadProblem

ROWS: list[dict[str, Any]] = [
    {
        "messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "é"}],
        "n": i,
        "when": datetime.date(2026, 1, 1),
    }
    for i in range(7)
]


def read(path: Path) -> list[Any]:
    return list(read_columns(path, path.name))


def test_nested_columns_of_a_saved_dataset_are_python_values(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    files = sorted((tmp_path / "saved").glob("*.arrow"))
    assert [file.name for file in files] == [
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]
    assert [number for number, _ in read(files[0])] == [1, 2, 3, 4]
    assert [row for file in files for _, row in read(file)] == ROWS


def test_rows_are_numbered_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_rows, "BATCH_ROWS", 3)
    feather.write_feather(pa.Table.from_pylist(ROWS), tmp_path / "a.arrow")
    assert read(tmp_path / "a.arrow") == list(enumerate(ROWS, start=1))


def test_text_that_is_not_utf_8_is_a_problem_of_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
    table = pa.table({"text": raw})
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    (_, first), (number, problem), (_, last) = read(tmp_path / "a.arrow")
    assert (first, last) == ({"text": "a"}, {"text": "c"})
    assert number == 2
    assert isinstance(problem, ReadProblem)
    assert problem.reason == "broken_encoding"
