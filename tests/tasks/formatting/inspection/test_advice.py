from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.formatting.inspection.advice import find_warnings
from tasks.formatting.inspection.findings import Inspection
from tasks.formatting.inspection.lengths import Distribution


def make_lengths(**changes: Any) -> dict[str, dict[str, Distribution]]:
    usual = replace(Distribution(500, 10, 40, 60, 80, 90, 42.0), **changes)
    return {unit: {"train": usual} for unit in ("characters", "tokens", "trained_tokens")}


SOUND = Inspection(
    rows={"read": 600, "kept": 600, "invalid": 0, "filtered": 0, "cut": 0},
    splits={"train": 500, "test": 100},
    invalid={},
    filtered={},
    lengths=make_lengths(),
    histogram=(),
    roles={"user": 600, "assistant": 600},
    num_empty_system_turns=0,
    untrained_turns=0,
    by="kind",
    balance={"write": {"train": 300, "test": 50}, "explain": {"train": 200, "test": 50}},
    duplicates={"duplicate": 0, "near_duplicate": 0},
    leakage={},
    findings={},
    trained_fraction=0.3,
    evaluation_sets=("test",),
    problems=(),
)


def test_sound_data_are_not_warned_about() -> None:
    assert find_warnings(SOUND, max_length=100) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": {**SOUND.rows, "invalid": 6}}, "6 of 600 rows are invalid"),
        ({"splits": {"train": 49, "test": 100}}, "49 training rows"),
        ({"splits": {"train": 500, "test": 9}}, "9 test rows"),
        ({"evaluation_sets": ()}, "no evaluation set"),
        ({"untrained_turns": 7}, "7 assistant turns are not trained on"),
        ({"lengths": make_lengths(longest=101)}, "101 tokens, training.max_length is 100"),
        ({"lengths": make_lengths(median=8)}, "11 times the median of 8"),
        ({"trained_fraction": 0.049}, "4.9% of the training tokens"),
        ({"num_empty_system_turns": 3}, "3 system turns are empty"),
        ({"balance": {"a": {"train": 460}, "b": {"train": 40}}}, "92% of the training rows have"),
        ({"duplicates": {"duplicate": 40, "near_duplicate": 30}}, "12% of the rows repeat"),
        ({"leakage": {"dev": {"overlap": 2, "overlap_group": 1}}}, "3 training rows have a prompt"),
        (
            {"leakage": {"test": {"near_kept": 4}}},
            "4 training rows are nearly held-out ones (test)",
        ),
        ({"findings": {"pii_email": 7}}, "email in 7 rows"),
    ],
)
def test_each_flaw_has_its_warning(changes: dict[str, Any], words: str) -> None:
    (warning,) = find_warnings(replace(SOUND, **changes), max_length=100)
    assert words in warning


@pytest.mark.parametrize(
    "changes",
    [
        {"balance": {"only": {"train": 500}}},
        {"balance": {"(none)": {"train": 490}, "a": {"train": 5}, "b": {"train": 5}}},
        {"lengths": make_lengths(longest=100, median=10)},
        {"trained_fraction": 0.05},
        {"leakage": {"test": {"near_test": 3}}},
        {"splits": {"train": 50, "test": 50}},
        {"findings": {"unicode_nfc": 7}},
    ],
)
def test_what_is_just_right_has_none(changes: dict[str, Any]) -> None:
    assert find_warnings(replace(SOUND, **changes), max_length=100) == ()
