from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.formatting.intake.row_shards import (
    ROWS_PER_BATCH,
    ShardWriter,
    dump_row,
    load_row,
    read_batches,
)

HASHES = bytes(range(1, 25))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text("abc"), json_values))
@settings(max_examples=30, deadline=None)
def test_rows_are_loaded_as_they_were_dumped(row: dict[str, object]) -> None:
    assert load_row(dump_row(row)) == row


def test_whole_numbers_of_any_length_stay_exact() -> None:
    assert load_row(dump_row({"n": 10**30}))["n"] == 10**30


def test_rows_are_written_in_batches_and_columns_can_be_chosen(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.arrow") as writer:
        for line in range(ROWS_PER_BATCH):
            writer.keep(3, line, HASHES, b"{}")
        writer.leave_out(3, ROWS_PER_BATCH, "invalid", "broken_json", "broken")
    assert (writer.num_rows, writer.num_kept) == (ROWS_PER_BATCH + 1, ROWS_PER_BATCH)
    full, last = read_batches(tmp_path / "a.arrow", ("line", "content", "reason"))
    assert full.num_rows == ROWS_PER_BATCH
    assert full["content"][0].as_py() == int.from_bytes(HASHES[:8], "big")
    assert last.to_pylist() == [{"line": ROWS_PER_BATCH, "reason": "broken_json", "content": 0}]


def test_a_shard_that_was_interrupted_has_no_file(tmp_path: Path) -> None:
    def interrupt() -> None:
        with ShardWriter(tmp_path / "a.arrow") as writer:
            writer.keep(0, 1, HASHES, b"{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert not (tmp_path / "a.arrow").exists()


def test_a_signed_shard_holds_a_signature_for_each_row(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.arrow", is_signed=True) as writer:
        writer.keep(0, 1, HASHES, b"{}", "some text")
        writer.leave_out(0, 2, "invalid", "x", "y")
        writer.keep(0, 3, HASHES, b"{}", "some text")
    [batch] = read_batches(tmp_path / "a.arrow", ("signature",))
    first, _, third = batch["signature"].to_pylist()
    assert first == third
    assert len(first) == 512


def test_chosen_columns_bring_none_of_the_others_into_memory(tmp_path: Path) -> None:
    # A pass over all rows keeps a few columns of each: with the rest it would hold all the data.
    with ShardWriter(tmp_path / "a.arrow") as writer:
        for line in range(64):
            writer.keep(0, line, HASHES, bytes(100_000))
    before = pa.total_allocated_bytes()
    batches = list(read_batches(tmp_path / "a.arrow", ("line", "content")))
    assert sum(batch.num_rows for batch in batches) == 64
    assert pa.total_allocated_bytes() - before < 100_000
