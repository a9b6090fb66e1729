from __future__ import annotations

import pytest

from configs.errors import RequestError
from tasks.formatting.ledger import (
    LedgerEntry,
    Tally,
    check_invalid_rows,
    count_reasons,
    count_rows,
    list_problems,
    tally_entries,
)

KEPT = LedgerEntry("train", "a.jsonl:1", "kept", split="train")
CUT = LedgerEntry("train", "a.jsonl:2", "kept", split="train", cut_tokens=3)
INVALID = LedgerEntry("train", "a.jsonl:3", "invalid", reason="broken_json", detail="broken JSON")
FILTERED = LedgerEntry("train", "a.jsonl:4", "filtered", reason="duplicate", detail="repeats")


def test_rows_are_counted_by_outcome() -> None:
    rows = count_rows(tally_entries([KEPT, CUT, INVALID, FILTERED]))
    assert rows.model_dump() == {"read": 4, "kept": 2, "invalid": 1, "filtered": 1, "cut": 1}


def test_reasons_are_counted_the_most_frequent_first() -> None:
    other = LedgerEntry("train", "a.jsonl:5", "invalid", reason="a_reason")
    counts = count_reasons(tally_entries([other, INVALID, INVALID, FILTERED]), "invalid")
    assert list(counts.items()) == [("broken_json", 2), ("a_reason", 1)]


def test_the_tolerated_share_is_a_limit_that_may_be_reached() -> None:
    check_invalid_rows(tally_entries([KEPT] * 3 + [INVALID]), 0.25)
    with pytest.raises(RequestError, match="1 of 4 rows are invalid"):
        check_invalid_rows(tally_entries([KEPT] * 3 + [INVALID]), 0.24)


def test_filtered_rows_never_count_as_invalid() -> None:
    check_invalid_rows(tally_entries([KEPT, FILTERED]), 0.0)


def make_invalid(line: int, reason: str = "broken_json") -> LedgerEntry:
    return LedgerEntry("train", f"a.jsonl:{line}", "invalid", reason, f"problem {line}")


def test_the_first_problems_are_listed_in_reading_order_and_the_rest_counted() -> None:
    entries = [make_invalid(n, "even" if n % 2 == 0 else "odd") for n in range(1, 15)]
    tally = tally_entries(entries)
    listed = list_problems(tally, "invalid")
    assert listed[:2] == ("a.jsonl:1: problem 1", "a.jsonl:2: problem 2")
    assert listed[10:] == ("and 4 more",)
    assert list_problems(tally, "invalid", reason="even")[0] == "a.jsonl:2: problem 2"
    assert list_problems(tally, "invalid", source="test") == ()


@pytest.mark.parametrize("cut", [0, 1, 7, 12, 14])
def test_tallies_of_parts_merge_into_the_tally_of_all(cut: int) -> None:
    entries = [KEPT, CUT, FILTERED, *map(make_invalid, range(11))]
    merged = tally_entries(entries[:cut])
    merged.merge(Tally.from_dict(tally_entries(entries[cut:]).to_dict()))
    assert merged == tally_entries(entries)
