from __future__ import annotations

import os
from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.records.digests import digest_code, digest_file, digest_folder, digest_value
from tasks.records.runs import check_home, create_run_folder, discard_run_folder
from tasks.records.writing import open_atomic, read_jsonl, replace_link, write_json, write_jsonl


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"old": 1})
    before = digest_file(file)
    with pytest.raises(TypeError), open_atomic(file) as stream:
        stream.write(b"half")
    assert digest_file(file) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_jsonl_round_trip(tmp_path: Path) -> None:
    rows = [{"text": "line\nbreak \u2028 ü"}, {"n": 1}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_jsonl(tmp_path / "a.jsonl") == rows


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~umask


def test_link_is_relative_and_replaced(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "cache" / name).mkdir(parents=True)
        replace_link(tmp_path / "runs" / "model", tmp_path / "cache" / name)
    link = tmp_path / "runs" / "model"
    assert link.resolve() == tmp_path / "cache" / "two"
    assert not link.readlink().is_absolute()


def test_digests_see_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = digest_folder(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, digest_folder(tmp_path)}) == 3
    assert digest_value([1, "ü"]) == digest_value([1, "ü"]) != digest_value([1, "u"])


def test_code_digest_covers_templates() -> None:
    assert digest_code("tasks.formatting") != digest_code("tasks.formatting.rendering.renderer")


def test_output_folder_that_is_a_file_is_refused(home: Path) -> None:
    (home / "outputs").write_text("")
    with pytest.raises(RequestError, match="outputs is a file"):
        check_home()


def test_run_folder_is_linked_and_discarded(home: Path) -> None:
    first = create_run_folder("a: 1\n")
    second = create_run_folder("a: 2\n")
    latest = home / "outputs" / "runs" / "latest"
    assert latest.resolve() == second.folder
    discard_run_folder(second)
    assert latest.resolve() == first.folder
    discard_run_folder(first)
    assert not latest.is_symlink()
