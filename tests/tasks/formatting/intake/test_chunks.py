from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.formatting.files.readers import SourceFile, read_rows
from tasks.formatting.intake.chunk_intake import read_piece
from tasks.formatting.intake.chunks import plan_chunks


def write(folder: Path, name: str, content: bytes) -> SourceFile:
    (folder / name).write_bytes(content)
    return SourceFile(folder / name, name)


@given(
    st.lists(st.sampled_from([b'{"a": 1}', b"", b"{", b"\xff", b"[]", b'{"b":\r', b" "])),
    st.booleans(),
    st.integers(1, 40),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_stretches_of_a_file_hold_its_rows_and_lines(
    tmp_path: Path, lines: list[bytes], has_mark: bool, chunk_bytes: int
) -> None:
    content = (b"\xef\xbb\xbf" if has_mark else b"") + b"\n".join([b'{"first": 1}', *lines])
    file = write(tmp_path, "a.jsonl", content)
    chunks = plan_chunks({"train": [file]}, chunk_bytes)
    found = [row for chunk in chunks for piece in chunk.pieces for row in read_piece(piece)]
    assert found == list(read_rows(file))


def test_small_files_share_a_chunk_and_sources_do_not(tmp_path: Path) -> None:
    files = [write(tmp_path, f"{n}.jsonl", b'{"a": 1}\n' * 3) for n in range(5)]
    chunks = plan_chunks({"train": files[:4], "test": files[4:]}, chunk_bytes=60)
    assert [[piece.name for piece in chunk.pieces] for chunk in chunks] == [
        ["0.jsonl", "1.jsonl", "2.jsonl"], ["3.jsonl"], ["4.jsonl"],
    ]  # fmt: skip
    assert [chunk.source for chunk in chunks] == ["train", "train", "test"]
    assert [p.number for chunk in chunks for p in chunk.pieces] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'{"a": 1}\n' * 9),
        ("a.csv", b"a,b\n" * 9),
        ("a.jsonl", b'[\n{"a": 1},\n{"a": 2}\n]'),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16") * 9),
    ],
)
def test_what_has_no_row_a_line_is_read_whole(tmp_path: Path, name: str, content: bytes) -> None:
    [chunk] = plan_chunks({"train": [write(tmp_path, name, content)]}, chunk_bytes=10)
    assert [piece.stop for piece in chunk.pieces] == [None]
