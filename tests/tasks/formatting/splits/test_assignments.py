from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import RunError
from tasks.formatting.cleaning.near_duplicates import NUM_PERM
from tasks.formatting.splits import assignments
from tasks.formatting.splits.assignments import (
    Assignments,
    add_rows,
    add_signatures,
    find_splits,
    free_brought_sets,
    read_assignments,
    start_assignments,
    write_assignments,
)


def make_assignments() -> Assignments:
    content, prompt, group = (
        np.arange(4, dtype=np.uint64) + np.uint64(2**63 + n) for n in (0, 10, 20)
    )
    split = np.array([0, 1, 2, 2], np.int8)
    signatures = np.random.default_rng(0).integers(0, 2**32, (3, NUM_PERM), np.uint32)
    rows = add_rows(start_assignments(3), content, prompt, group, split)
    return add_signatures(rows, content[1:], split[1:], signatures)


def are_equal(first: Assignments, second: Assignments) -> bool:
    return all(map(np.array_equal, astuple(first), astuple(second)))


def test_assignments_are_read_as_they_were_written(tmp_path: Path) -> None:
    for name, written in (("some", make_assignments()), ("none", start_assignments(1))):
        path = tmp_path / name
        write_assignments(path, written)
        read = read_assignments(path)
        assert are_equal(read, written)
        assert [np.asarray(a).dtype for a in astuple(read)] == [
            np.asarray(a).dtype for a in astuple(written)
        ]
        first = path.read_bytes()
        write_assignments(path, read)
        assert path.read_bytes() == first


def test_a_row_is_added_once_and_stays_as_it_is() -> None:
    stored = make_assignments()
    again = add_rows(stored, stored.content, stored.prompt, stored.group, np.zeros(4, np.int8))
    assert are_equal(again, stored)
    new = add_rows(stored, *[np.array([7, 7], np.uint64)] * 3, np.array([1, 1], np.int8))
    assert new.split.tolist() == [0, 1, 2, 2, 1]


def test_a_signature_is_added_once() -> None:
    stored = make_assignments()
    again = add_signatures(
        stored, stored.signed_content, stored.signed_split, stored.signatures + np.uint32(1)
    )
    assert are_equal(again, stored)


def test_brought_sets_free_the_rows_that_were_split_off() -> None:
    stored = make_assignments()
    freed = free_brought_sets(stored, frozenset({"test", "dev"}))
    assert freed.split.tolist() == [0, 1, 0, 0]
    assert freed.signed_split.tolist() == [1]
    assert (freed.signatures == stored.signatures[:1]).all()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=20))
def test_a_key_has_the_strictest_of_its_splits(known: list[tuple[int, int]]) -> None:
    keys = np.array([key for key, _ in known], np.uint64)
    splits = np.array([split for _, split in known], np.int8)
    found = find_splits(np.arange(10, dtype=np.uint64), keys, splits)
    assert found.tolist() == [
        max((s for k, s in known if k == key), default=-1) for key in range(10)
    ]


def test_other_files_and_later_versions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "assignments.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(RunError, match="not a file of split assignments"):
        read_assignments(path)
    pq.write_table(pa.table({"content": [1]}), path)
    with pytest.raises(RunError, match="not a file of split assignments"):
        read_assignments(path)
    with monkeypatch.context() as patch:
        patch.setattr(assignments, "SCHEMA_VERSION", 9)
        write_assignments(path, make_assignments())
    with pytest.raises(RunError, match="schema version 9"):
        read_assignments(path)


def test_signatures_of_another_kind_are_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "assignments.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(assignments, "SIGNATURE_VERSION", "other")
        write_assignments(path, make_assignments())
    read = read_assignments(path)
    assert len(read.signatures) == len(read.signed_content) == 0
    assert read.split.tolist() == [0, 1, 2, 2]
    assert "signatures of an earlier kind are left out" in caplog.text
