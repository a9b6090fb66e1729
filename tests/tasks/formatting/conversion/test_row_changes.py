from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from configs.schema import DataConfig
from tasks.formatting.conversion.row_changes import RowChanges, RowKey, compare_rows, count_keys
from tasks.formatting.files.json_rows import ReadProblem


def make_row(question: str, answer: str, **fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **fields}


def count(
    *rows: dict[str, Any] | ReadProblem,
    data: DataConfig = DataConfig(),  # noqa: B008 - frozen
) -> Counter[RowKey]:
    return count_keys(iter(enumerate(rows, 1)), data)


def test_rows_are_added_removed_and_changed() -> None:
    first = count(make_row("a", "1"), make_row("b", "2"), make_row("c", "3"))
    second = count(make_row("d", "4"), make_row("b", "5"), make_row("c", "3"), make_row("e", "6"))
    assert compare_rows(first, second) == RowChanges(added=2, removed=1, changed=1, unchanged=1)


def test_order_of_rows_and_keys_does_not_count() -> None:
    first = count(make_row("a", "1", kind="x"), make_row("b", "2"))
    second = count(make_row("b", "2"), {"kind": "x", **make_row("a", "1")})
    assert compare_rows(first, second) == RowChanges(unchanged=2)


def test_another_field_of_a_row_is_a_change() -> None:
    changes = compare_rows(count(make_row("a", "1", kind="x")), count(make_row("a", "1", kind="y")))
    assert changes == RowChanges(changed=1)


def test_a_repeated_row_counts_each_time() -> None:
    row = make_row("a", "1")
    assert compare_rows(count(row), count(row, row, row)) == RowChanges(added=2, unchanged=1)


def test_several_rows_with_one_prompt_are_matched_one_by_one() -> None:
    first = count(make_row("a", "1"), make_row("a", "2"))
    second = count(make_row("a", "3"))
    assert compare_rows(first, second) == RowChanges(removed=1, changed=1)


def test_rows_that_are_not_understood_are_added_or_removed() -> None:
    broken = ReadProblem("broken_json", "broken JSON: at column 3")
    first = count(broken, {"foreign": 1}, make_row("a", "1"))
    second = count({"foreign": 2}, make_row("a", "1"))
    assert compare_rows(first, second) == RowChanges(added=1, removed=2, unchanged=1)


ROWS = st.lists(st.builds(make_row, st.sampled_from("abc"), st.sampled_from("12")), max_size=12)


@given(ROWS, ROWS)
def test_every_row_is_counted_once(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    first, second = count(*old), count(*new)
    there = compare_rows(first, second)
    assert there.removed + there.changed + there.unchanged == len(old)
    assert there.added + there.changed + there.unchanged == len(new)
    back = compare_rows(second, first)
    assert (back.added, back.removed, back.changed) == (there.removed, there.added, there.changed)


def test_a_row_of_foreign_columns_is_known_again_by_its_prompt() -> None:
    data = DataConfig(columns={"question": "prompt", "answer": "completion"})
    before = count({"question": "Why?", "answer": "So."}, data=data)
    after = count({"question": "Why?", "answer": "Because."}, data=data)
    assert compare_rows(before, after) == RowChanges(changed=1)
