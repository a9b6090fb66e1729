from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.schema import DataConfig
from tasks.formatting.cleaning.near_duplicates import NUM_PERM
from tasks.formatting.cleaning.near_pairs import Comparison
from tasks.formatting.splits import placement
from tasks.formatting.splits.assignments import SPLITS, Assignments, start_assignments
from tasks.formatting.splits.placement import REASONS, Placement, RowColumns, place_rows
from tasks.formatting.splits.split_hash import SplitPlan, assign_split, hash_group

PLAN = SplitPlan(0.25, 0.25)
START = start_assignments(1)


@dataclass(frozen=True)
class Row:
    """A row by its keys; rows of one family are near when few of their marks differ."""

    prompt: str
    answer: str = "So."
    group: str = ""
    family: int = 0
    marks: int = 0
    source: str = "train"

    @property
    def content(self) -> str:
        return f"{self.prompt}|{self.answer}"


def digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@cache
def sign_row(row: Row) -> np.ndarray:
    """Signatures of a family differ in ten places for each mark: near with at most two of them."""
    signature = np.random.default_rng(row.family).integers(0, 2**32, NUM_PERM, np.uint32)
    for mark in range(8):
        if row.marks >> mark & 1:
            signature[mark * 10 : mark * 10 + 10] ^= np.uint32(1)
    return signature


def make_columns(rows: list[Row], *, near: bool = False) -> RowColumns:
    sources = ("train", *sorted({row.source for row in rows} - {"train"}))
    return RowColumns(
        sources,
        np.array([sources.index(row.source) for row in rows], np.int16),
        np.ones(len(rows), np.bool_),
        np.array([digest(row.content) for row in rows], np.uint64),
        np.array([digest(row.prompt) for row in rows], np.uint64),
        np.array([hash_group(row.group or row.prompt) for row in rows], np.uint64),
        np.array([sign_row(row) for row in rows], np.uint32).reshape(-1, NUM_PERM)
        if near
        else None,
    )


def place(
    rows: list[Row], stored: Assignments = START, plan: SplitPlan = PLAN, **data: object
) -> Placement:
    config = DataConfig.model_validate(data)
    columns = make_columns(rows, near=config.near_duplicates != "off")
    return place_rows(columns, config, plan, stored)


def name_outcomes(placement: Placement) -> list[str]:
    return [
        placement.splits[split] if split >= 0 else REASONS[reason]
        for split, reason in zip(placement.split, placement.reason, strict=True)
    ]


def find_prompt(split: str, plan: SplitPlan = PLAN, start: int = 0) -> str:
    return next(
        name for n in range(start, 1000) if assign_split(name := f"prompt {n}", plan) == split
    )


def test_without_repeats_a_row_goes_where_the_hash_of_its_group_says() -> None:
    rows = [Row(f"prompt {n}") for n in range(200)]
    assert name_outcomes(place(rows)) == [assign_split(row.prompt, PLAN) for row in rows]


def test_only_exact_repeats_in_training_are_duplicates() -> None:
    rows = [Row("a"), Row("a", "Other."), Row("a"), Row("b", source="dev"), Row("b", source="dev")]
    placement = place(rows)
    assert [REASONS[r] for r in placement.reason] == ["", "", "duplicate", "", ""]
    assert placement.other.tolist() == [-1, -1, 0, -1, -1]
    assert name_outcomes(placement)[3:] == ["dev", "dev"]
    assert not place(rows, duplicates="keep").reason.any()


def test_training_rows_with_a_prompt_or_group_of_an_evaluation_set_are_filtered() -> None:
    rows = [
        Row("a", "1", "one"), Row("b", "1", "two"), Row("c", "1", "three"),
        Row("a", "2", "four", source="dev"), Row("d", "2", "two", source="test"),
    ]  # fmt: skip
    placement = place(rows, plan=SplitPlan(0, 0))
    assert name_outcomes(placement) == ["overlap", "overlap_group", "train", "dev", "test"]
    assert placement.other.tolist()[:2] == [3, 4]


def test_a_row_that_is_not_kept_has_no_part_in_anything() -> None:
    columns = make_columns([Row("a"), Row("a"), Row("a", source="dev")])
    columns.kept[:] = [False, True, False]
    placement = place_rows(columns, DataConfig(), SplitPlan(0, 0), START)
    assert name_outcomes(placement) == ["", "train", ""]


def test_groups_that_share_a_prompt_go_to_one_split() -> None:
    rows = [Row(f"prompt {n // 2}", str(n), f"group {(n + 1) // 2}") for n in range(40)]
    assert len(set(name_outcomes(place(rows)))) == 1


def test_an_earlier_row_that_is_near_makes_a_later_one_superfluous() -> None:
    rows = [Row("a", marks=0), Row("b", marks=1), Row("c", marks=3), Row("d", marks=7),
            Row("e", family=1)]  # fmt: skip
    placement = place(rows, plan=SplitPlan(0, 0), near_duplicates="filter")
    near = "near_duplicate"
    # The fourth differs from the first in thirty places, and is only near rows that go.
    assert name_outcomes(placement) == ["train", near, near, "train", "train"]
    assert placement.other.tolist() == [-1, 0, 0, -1, -1]


def test_near_rows_are_kept_together() -> None:
    rows = [Row(f"prompt {n}", family=n // 4, marks=(1 << n % 4) - 1) for n in range(400)]
    outcomes = name_outcomes(place(rows, near_duplicates="group"))
    assert all(len(set(outcomes[n : n + 4])) == 1 for n in range(0, 400, 4))
    assert 60 < outcomes.count("test") < 140  # of 400, a quarter, in groups of four
    assert 60 < outcomes.count("validation") < 140


@pytest.mark.parametrize("mode", ["filter", "group"])
def test_training_rows_near_an_evaluation_set_are_filtered(mode: str) -> None:
    rows = [Row("a"), Row("b", family=1), Row("c", family=2),
            Row("d", marks=3, source="dev"), Row("e", family=1, source="validation")]  # fmt: skip
    placement = place(rows, plan=SplitPlan(0, 0), near_duplicates=mode)
    assert name_outcomes(placement)[:3] == ["near_test", "near_validation", "train"]
    assert placement.other.tolist()[:2] == [3, 4]


def test_a_second_round_compares_a_few_rows_with_each_however_many_are_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in (1000, 4000):
        made: list[Comparison] = []

        def keep(*args: object, made: list[Comparison] = made) -> Comparison:
            made.append(Comparison(*args))  # type: ignore[arg-type]
            return made[-1]

        monkeypatch.setattr(placement, "Comparison", keep)
        rows = [Row(f"prompt {n}", family=n % 10, marks=n % 2) for n in range(number)]
        first = place(rows, near_duplicates="group")
        second = place([*rows, *(replace(row, answer="New.") for row in rows)], first.assignments,
                       near_duplicates="group")  # fmt: skip
        assert name_outcomes(second)[:number] == name_outcomes(first)
        assert 0 < made[-1].num_compared < 6 * 2 * number


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_new_row_near_a_held_out_row_is_filtered_even_when_that_row_is_gone(split: str) -> None:
    old = Row(find_prompt(split))
    stored = place([old], near_duplicates="group").assignments
    new = Row("new", marks=1)
    assert name_outcomes(place([new, old], stored, near_duplicates="group")) == [
        f"near_{split}", split,
    ]  # fmt: skip
    placement = place([new], stored, near_duplicates="group")
    assert name_outcomes(placement) == [f"near_{split}"]
    assert placement.other.tolist() == [-1]


def test_a_new_row_goes_where_its_group_or_prompt_went() -> None:
    old = Row(find_prompt("test"), group=find_prompt("test"))
    stored = place([old]).assignments
    new = [Row("new", group=old.group), Row(old.prompt, "Other.", group="other"),
           Row("third", group="other")]  # fmt: skip
    assert name_outcomes(place(new, stored)) == ["test"] * 3


def test_nothing_stored_changes_when_rows_of_two_splits_grow_together() -> None:
    train, test = (Row(find_prompt(name), group=find_prompt(name)) for name in ("train", "test"))
    stored = place([train, test]).assignments
    new = [Row(test.prompt, "Other.", train.group), Row("new", group=train.group)]
    placement = place([train, test, *new], stored)
    assert name_outcomes(placement) == ["train", "test", "near_test", "train"]
    assert placement.other.tolist()[2] == 1


def test_near_duplicates_looked_for_later_leave_the_test_set_as_it_is() -> None:
    train, test = Row(find_prompt("train")), Row(find_prompt("test"), marks=1)
    stored = place([train, test]).assignments
    placement = place([train, test], stored, near_duplicates="group")
    assert name_outcomes(placement) == ["near_test", "test"]


def test_groups_named_later_leave_the_test_set_as_it_is() -> None:
    train, test = Row(find_prompt("train")), Row(find_prompt("test"))
    stored = place([train, test]).assignments
    rows = [Row(row.prompt, group="conversation") for row in (train, test)]
    assert name_outcomes(place(rows, stored)) == ["near_test", "test"]


def test_another_split_version_starts_afresh() -> None:
    rows = [Row(f"prompt {n}") for n in range(200)]
    first = place(rows)
    second = place(rows, first.assignments, split_version=2)
    assert second.assignments.split_version == 2
    assert 0.25 < np.mean(first.split == second.split) < 0.5  # by chance: 0.375
    again = place(rows, second.assignments, split_version=2)
    assert again.split.tolist() == second.split.tolist()


def test_rows_of_a_split_that_the_source_now_brings_go_to_training_for_good() -> None:
    old = Row(find_prompt("test"))
    stored = place([old], near_duplicates="group").assignments
    brought = Row("brought", family=1, source="test")
    placement = place([old, brought], stored, SplitPlan(0.25, 0), near_duplicates="group")
    assert name_outcomes(placement) == ["train", "test"]
    assert name_outcomes(place([old], placement.assignments)) == ["train"]


ROWS = st.builds(
    Row,
    prompt=st.integers(0, 12).map(str),
    answer=st.integers(0, 2).map(str),
    group=st.integers(0, 15).map(lambda n: str(n) if n else ""),
    family=st.integers(0, 2),
    marks=st.integers(0, 63),
)


def are_near(first: Row, second: Row) -> bool:
    return bool(np.mean(sign_row(first) == sign_row(second)) >= 0.8)


def check_no_leak(rows: list[Row], outcomes: list[str], *, near: bool) -> None:
    kept = [
        (r, o) for r, o in zip(rows, outcomes, strict=True) if o in ("train", "validation", "test")
    ]
    for n, (first, one) in enumerate(kept):
        for second, other in kept[:n]:
            if one != other:
                assert first.prompt != second.prompt
                assert (first.group or first.prompt) != (second.group or second.prompt)
                assert not (near and are_near(first, second)), (first, one, second, other)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(ROWS, max_size=8), min_size=2, max_size=4),
    st.sampled_from(["off", "filter", "group"]),
    st.sampled_from(["filter", "keep"]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_no_row_changes_its_split_and_nothing_stands_on_both_sides(
    rounds: list[list[Row]], near: str, duplicates: str, regrouped: bool, order: Random
) -> None:
    stored, rows = START, []
    contents: dict[str, Row] = {}
    first_splits: dict[str, str] = {}
    for new in rounds:
        for row in new:
            same = contents.setdefault(row.content, row)  # what a row says decides its signature
            rows.append(replace(same, group=row.group) if regrouped else same)
        order.shuffle(rows)
        placement = place(rows, stored, near_duplicates=near, duplicates=duplicates)
        outcomes = name_outcomes(placement)
        check_no_leak(rows, outcomes, near=near != "off")
        kept = {(r.content, o) for r, o in zip(rows, outcomes, strict=True) if o in SPLITS}
        for content, split in kept:
            assert first_splits.setdefault(content, split) == split
        if not regrouped:  # a row that is held out once is held out in every round
            held_out = {item for item in first_splits.items() if item[1] != "train"}
            assert held_out <= kept
        stored = placement.assignments


@settings(max_examples=40, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=30), st.sampled_from(["filter", "group"]))
def test_every_row_is_kept_or_has_one_reason_and_names_a_row(rows: list[Row], mode: str) -> None:
    placement = place(rows, near_duplicates=mode)
    assert ((placement.split >= 0) == (placement.reason == 0)).all()
    for row, other, reason in zip(rows, placement.other, placement.reason, strict=True):
        if REASONS[reason] == "duplicate":
            assert row.content == rows[other].content
        if REASONS[reason] == "near_duplicate":
            assert are_near(row, rows[other])
            assert placement.split[other] >= 0


def test_keys_that_this_data_never_saw_do_not_matter() -> None:
    stored = place([Row(f"old {n}") for n in range(20)]).assignments
    rows = [Row(f"prompt {n}") for n in range(50)]
    assert name_outcomes(place(rows, stored)) == name_outcomes(place(rows))


def test_nothing_is_placed_where_there_is_nothing() -> None:
    placement = place_rows(
        make_columns([], near=True), DataConfig(near_duplicates="group"), PLAN, START
    )
    assert placement.split.shape == (0,)
