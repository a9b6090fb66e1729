from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from tasks.formatting.files import streams
from tasks.formatting.files.json_rows import ReadProblem
from tasks.formatting.files.readers import SourceFile, is_readable, list_source_files, read_rows

ROWS = [{"text": "first"}, {"text": 'second "quoted"\nline'}, {"text": "third, é"}]


def read(folder: Path, name: str, content: bytes) -> list[tuple[int, Any]]:
    (folder / name).write_bytes(content)
    return list(read_rows(SourceFile(folder / name, name)))


def encode_csv(rows: list[dict[str, str]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, ["text"])
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def encode_parquet(rows: list[dict[str, str]]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def encode_arrow(rows: list[dict[str, str]]) -> bytes:
    import pyarrow as pa

    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return bytes(sink.getvalue())


def compress_zstd(content: bytes) -> bytes:
    import pyarrow as pa

    return bytes(pa.Codec("zstd").compress(content))


JSONL = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()
INDENTED = "\n".join(json.dumps(row, indent=2) for row in ROWS).encode()
FILES = {
    "rows.jsonl": (JSONL, [1, 2, 3]),
    "rows.ndjson": (JSONL.replace(b"\n", b"\r\n\r\n"), [1, 3, 5]),
    "lines.json": (JSONL, [1, 2, 3]),
    "array.json": (json.dumps(ROWS, indent=1).encode(), [2, 5, 8]),
    "one-line.json": (json.dumps(ROWS).encode(), [1, 1, 1]),
    "objects.json": (INDENTED, [1, 4, 7]),
    "indented.jsonl": (b"\xef\xbb\xbf" + INDENTED, [1, 4, 7]),
    "rows.csv": (encode_csv(ROWS), [2, 3, 5]),
    "marked.csv": (b"\xef\xbb\xbf" + encode_csv(ROWS), [2, 3, 5]),
    "utf-16.csv": (encode_csv(ROWS).decode().encode("utf-16"), [2, 3, 5]),
    "utf-16.jsonl": (b"\xfe\xff" + JSONL.decode().encode("utf-16-be"), [1, 2, 3]),
    "rows.arrow": (encode_arrow(ROWS), [1, 2, 3]),
    "rows.parquet": (encode_parquet(ROWS), [1, 2, 3]),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("compressions", ["", ".gz", ".zst", ".gz.zst", ".zst.GZ"])
def test_each_file_kind_gives_the_same_rows(tmp_path: Path, name: str, compressions: str) -> None:
    content, lines = FILES[name]
    for kind in compressions.lower().split(".")[1:]:
        content = gzip.compress(content) if kind == "gz" else compress_zstd(content)
    assert is_readable(name + compressions)
    assert read(tmp_path, name + compressions, content) == list(zip(lines, ROWS, strict=True))


def test_paragraphs_of_a_text_file(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.txt", b"one\nstill one\n\n \r\ntwo\r\n\n\n")
    assert rows == [(1, {"text": "one\nstill one"}), (5, {"text": "two"})]


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("a.jsonl", JSONL + b'{"text": \n' + JSONL, 4, "broken_json"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"} {"text": "c"}\n', 2, "broken_json"),
        ("a.jsonl", b'{"text": "a"}\n{"n": NaN}\n', 2, "broken_json"),
        ("a.jsonl", b'{"text": "a"}\n' + b"[" * 100_000, 2, "broken_json"),
        ("a.jsonl", b'{"text": "a"}\n{"n": ' + b"1" * 5000 + b"}\n", 2, "broken_json"),
        ("a.jsonl", b'{"text": "a"}\n["text"]\n', 2, "not_an_object"),
        ("a.jsonl", b'{"text": "a"}\n\0\0\0\n{"text": "b"}', 2, "broken_json"),
        (
            "a.jsonl",
            '{"text": "a"}\n{"text": "\ud800"}'.encode("utf-16", "surrogatepass"),
            2,
            "broken_encoding",
        ),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', 2, "broken_encoding"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\\ud800"}\n', 2, "broken_encoding"),
        ("a.json", b'{\n"text": "a"\n}\n{\n"text" "b"\n}\n{"text": "c"}\n', 4, "broken_json"),
        ("a.json", b'[{"text": "a"},\n3]', 2, "not_an_object"),
        ("a.csv", b"text,kind\na,b\nc\n", 3, "broken_csv"),
        ("a.csv", b"text\na\n\xff\n", 3, "broken_encoding"),
        ("a.csv", b'text\na\n"b"c\nd\n', 3, "broken_csv"),
        ("a.csv", b"text\na\n" + b"b" * 5000 + b"\nc\n", 3, "overlong_line"),
        (
            "a.csv",
            b"text,n\na,1\n" + b"b" * 999 + b"," + b"c" * 999 + b"\r\nd,2",
            3,
            "overlong_line",
        ),
        ("a.jsonl", JSONL + b'{"text": "' + b"a" * 5000 + b'"}\n' + JSONL, 4, "overlong_line"),
        ("a.txt", b"a\n\n" + "é".encode() * 600 + b"\nb\n\nc", 3, "overlong_line"),
        ("a.txt", b"a\n\n\xff\n", 3, "broken_encoding"),
    ],
)
def test_a_broken_row_is_a_problem_on_its_line_and_the_others_are_read(
    tmp_path: Path,
    name: str,
    content: bytes,
    line: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if reason == "overlong_line":
        monkeypatch.setattr(streams, "MAX_LINE_BYTES", 1000)
    rows = read(tmp_path, name, content)
    problems = [(n, row.reason) for n, row in rows if isinstance(row, ReadProblem)]
    assert problems == [(line, reason)]
    assert len(rows) >= 2


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b"", "a.jsonl: the file holds no rows"),
        ("a.json", b"[]", "a.json: the file holds no rows"),
        ("a.csv", b"text\n", "a.csv: the file holds no rows"),
        ("a.txt", b"\n \n", "a.txt: the file holds no rows"),
        ("a.jsonl.gz", b"no gzip", "a.jsonl.gz: damaged gzip file"),
        ("a.jsonl.gz", gzip.compress(JSONL * 99, mtime=0)[:-9], "a.jsonl.gz: damaged gzip file"),
        ("a.jsonl.zst", b"no zstd", "a.jsonl.zst: damaged zstd file"),
        ("a.jsonl.zst", compress_zstd(JSONL * 99)[:-9], "a.jsonl.zst: damaged zstd file"),
        (
            "a.csv.zst",
            compress_zstd(gzip.compress(JSONL, mtime=0)),
            "a.csv.zst: its content is compressed",
        ),
        ("a.jsonl", compress_zstd(JSONL), "a.jsonl: its content is compressed with zstd"),
        ("a.json", JSONL.decode().encode("utf-16-le"), "a.json: this looks like UTF-16 without"),
        ("a.json", JSONL.decode().encode("utf-32"), "a.json: UTF-32 is not read"),
        ("a.csv", JSONL.decode().encode("utf-16")[:-1], "a.csv: broken UTF-16 (truncated data)"),
        ("a.arrow", b"no arrow", "a.arrow: not a readable Arrow file"),
        ("a.arrow", encode_arrow(ROWS)[:300], "a.arrow: not a readable Arrow file"),
        ("a.parquet", b"no parquet", "a.parquet: not a readable Parquet file"),
        ("a.json", b'[{"text": "a"},\n{"text" 1}]', "a.json:2: broken JSON"),
        ("a.json", b'[{"text": "a"}\n{"text": "b"}]', "a.json:2: broken JSON: expected `,`"),
        ("a.json", b'[{"text": "a"}]\n{}', "a.json:2: more text after the array"),
        ("a.csv", b'text\na\n"b\nc\n', "a.csv:3: a quote is opened here and never closed"),
        ("a.csv", b"text,text\na,b\n", "a.csv:1: the header repeats a name"),
    ],
)
def test_a_file_whose_rows_cannot_be_told_apart_is_refused(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read(tmp_path, name, content)
    assert str(caught.value).startswith(expected)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"gone\.jsonl: there is no such file"):
        list(read_rows(SourceFile(tmp_path / "gone.jsonl", "gone.jsonl")))


def test_only_readable_files_are_listed_in_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/c.csv.gz", "README.md", ".hidden.json", "weights.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in list_source_files(tmp_path)] == ["a/c.csv.gz", "b.jsonl"]


@given(content=st.binary(max_size=300), suffix=st.sampled_from(["jsonl", "json", "csv", "txt"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_rows_in_ascending_lines_or_one_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    where = ""
    try:
        rows = read(folder, f"any.{suffix}", content)
    except RequestError as err:
        where = err.where
    if where:
        assert where.startswith(f"any.{suffix}")
        return
    lines = [line for line, _ in rows]
    assert rows
    assert lines == sorted(lines)
    marks = (b"{\n", b"[\n", b"\xef", b"\xff\xfe", b"\xfe\xff")
    if suffix == "jsonl" and not content.lstrip().startswith(marks):
        assert len(rows) == sum(bool(line.strip()) for line in content.split(b"\n"))
