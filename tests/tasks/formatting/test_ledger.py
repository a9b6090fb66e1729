from __future__ import annotations

import pytest

from configs.errors import RequestError
from tasks.formatting.ledger import LedgerEntry, check_invalid_rows, count_reasons, count_rows

KEPT = LedgerEntry("train", "a.jsonl:1", "kept", split="train")
CUT = LedgerEntry("train", "a.jsonl:2", "kept", split="train", cut_tokens=3)
INVALID = LedgerEntry("train", "a.jsonl:3", "invalid", reason="broken_json", detail="broken JSON")
FILTERED = LedgerEntry("train", "a.jsonl:4", "filtered", reason="duplicate", detail="repeats")


def test_rows_are_counted_by_outcome() -> None:
    rows = count_rows([KEPT, CUT, INVALID, FILTERED])
    assert rows.model_dump() == {"read": 4, "kept": 2, "invalid": 1, "filtered": 1, "cut": 1}


def test_reasons_are_counted_the_most_frequent_first() -> None:
    other = LedgerEntry("train", "a.jsonl:5", "invalid", reason="a_reason")
    counts = count_reasons([other, INVALID, INVALID, FILTERED], "invalid")
    assert list(counts.items()) == [("broken_json", 2), ("a_reason", 1)]


def test_the_tolerated_share_is_a_limit_that_may_be_reached() -> None:
    check_invalid_rows([KEPT] * 3 + [INVALID], 0.25)
    with pytest.raises(RequestError, match="1 of 4 rows are invalid"):
        check_invalid_rows([KEPT] * 3 + [INVALID], 0.24)


def test_filtered_rows_never_count_as_invalid() -> None:
    check_invalid_rows([KEPT, FILTERED], 0.0)
