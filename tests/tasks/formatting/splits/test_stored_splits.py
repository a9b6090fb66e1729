from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.formatting.splits.assignments import add_rows, start_assignments, write_assignments
from tasks.formatting.splits.stored_splits import find_store


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HONE_HOME", str(tmp_path))
    return tmp_path


def write_one_row(path: Path) -> Path:
    key = np.array([7], np.uint64)
    write_assignments(path, add_rows(start_assignments(1), key, key, key, np.array([2], np.int8)))
    return path


def test_all_versions_of_a_source_share_a_store() -> None:
    main, older = (find_store(f"lakefs://shop/{ref}/chats", 1) for ref in ("main", "main~2"))
    assert main == older
    others = [find_store("lakefs://shop/main/mail", 1), find_store("lakefs://depot/main/chats", 1)]
    assert main not in others
    assert find_store("hf://org/chats@v1", 1) == find_store("hf://org/chats@v2", 1)
    assert find_store("data/a", 1).folder != find_store("data/b", 1).folder


def test_what_a_request_was_answered_with_is_remembered(tmp_path: Path) -> None:
    store = find_store("data/a", 1)
    assert (store.digest(), store.recall("request")) == ("", None)
    store.store("request", "", write_one_row(tmp_path / "new.parquet"))
    assert store.recall("request") == ""
    assert store.read().split.tolist() == [2]
    assert store.digest()


def test_an_older_answer_does_not_replace_newer_assignments(tmp_path: Path) -> None:
    store = find_store("data/a", 1)
    store.store("first", "", write_one_row(tmp_path / "new.parquet"))
    newest = store.digest()
    write_assignments(tmp_path / "other.parquet", start_assignments(1))
    store.store("second", "another digest", tmp_path / "other.parquet")
    assert store.digest() == newest


def test_split_versions_are_kept_apart(tmp_path: Path) -> None:
    find_store("data/a", 1).store("request", "", write_one_row(tmp_path / "new.parquet"))
    assert find_store("data/a", 2).digest() == ""
