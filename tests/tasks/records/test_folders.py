from __future__ import annotations

import os
from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.records.folders import walk_files


def test_links_in_a_circle_end_and_dead_ones_are_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.jsonl").write_text("{}")
    (tmp_path / "sub" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dead.jsonl").symlink_to("nowhere")
    (tmp_path / "self.jsonl").symlink_to("self.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    names = sorted(path.relative_to(tmp_path).as_posix() for path in walk_files(tmp_path))
    assert names == ["dead.jsonl", "self.jsonl", "sub/a.jsonl"]


def test_a_folder_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="gone: the folder cannot be opened"):
        list(walk_files(tmp_path / "gone"))
