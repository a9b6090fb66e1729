from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from configs.errors import RequestError
from tasks.formatting.files import streams
from tasks.formatting.files.streams import open_text, split_lines, strip_compression


@given(content=st.binary(max_size=200))
def test_lines_are_cut_as_files_cut_them(content: bytes) -> None:
    assert list(split_lines(io.BytesIO(content))) == list(io.BytesIO(content))


@given(lengths=st.lists(st.integers(0, 30), max_size=8), limit=st.integers(1, 20))
def test_a_line_above_the_limit_is_one_problem(lengths: list[int], limit: int) -> None:
    content = io.BytesIO(b"".join(b"x" * length + b"\n" for length in lengths))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "MAX_LINE_BYTES", limit)
        patch.setattr(streams, "BUFFER_BYTES", 4)
        lines = list(split_lines(content))
    assert [len(line) for line in lines] == [min(length, limit) + 1 for length in lengths]


@given(text=st.text(max_size=50), encoding=st.sampled_from(["utf-8-sig", "utf-16"]))
def test_marked_text_comes_out_as_plain_utf_8(
    text: str, encoding: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assume(not text.startswith("\0"))  # UTF-16's mark and a NUL are the mark of UTF-32
    path = tmp_path_factory.getbasetemp() / "marked.txt.gz"
    path.write_bytes(gzip.compress(text.encode(encoding), compresslevel=1))
    with open_text(path, path.name) as content:
        assert content.read() == text.encode()


def test_files_are_closed_on_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"a"))
    with open_text(path, path.name) as content:
        pass
    assert content.closed


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"%PDF-1.7\n", "its content is a PDF document"),
        (b"PK\x03\x04\x14", "its content is a ZIP archive"),
        (b"PAR1\x15", "its content is a Parquet file"),
    ],
)
def test_another_kind_of_file_under_a_texts_name_is_one_error(
    head: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(head + b"\xff" * 100)
    with pytest.raises(RequestError, match=words), open_text(path, path.name):
        pass


def test_a_link_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.symlink_to(path)
    with pytest.raises(RequestError, match="cannot be read"), open_text(path, path.name):
        pass


@pytest.mark.parametrize("name", ["rows.JSONL.gz", "rows.jsonl.zst", "x.gz/rows.jsonl.gz.zst"])
def test_the_suffix_stands_before_the_compressions(name: str) -> None:
    assert strip_compression(name) == "rows.jsonl"
