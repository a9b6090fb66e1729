from dataclasses import replace

import pytest

from configs.schema import GateConfig, GuardConfig
from tasks.evaluation.guards import (
    Guard,
    belongs,
    find_gap,
    list_guards,
    list_slices,
    select_slice,
)
from tasks.evaluation.pairing import Pairing
from tests.tasks.evaluation.rows import make_rows

ROWS = [{"kind": "explain", "level": 3, "hard": True}, {"kind": "write", "level": 1.5}, {}]
FIELDS = {"test": ROWS, "adversarial": [{}]}


def test_primaries_are_guarded_on_adversarial_where_it_is() -> None:
    gate = GateConfig(max_regression=0.1)
    assert list_guards(gate, ["exact_match", "nll"], FIELDS) == [
        Guard("exact_match", "adversarial", 0.1), Guard("nll", "adversarial", 0.1),
    ]  # fmt: skip
    assert list_guards(gate, ["nll"], {"test": ROWS}) == []


def test_guards_of_the_config_are_added() -> None:
    gate = GateConfig(
        guards=(
            GuardConfig(metric="nll"),
            GuardConfig(metric="jaccard", split="dev", slice={"kind": "write"}, max_regression=0.2),
        )
    )
    assert list_guards(gate, ["exact_match"], FIELDS) == [
        Guard("exact_match", "adversarial", 0.05),
        Guard("nll", "test", 0.05),
        Guard("jaccard", "dev", 0.2, {"kind": "write"}),
    ]


def test_a_guard_of_the_config_takes_the_usual_ones_place() -> None:
    own = GuardConfig(metric="nll", split="adversarial", max_regression=0.5)
    guards = list_guards(GateConfig(guards=(own,)), ["nll"], FIELDS)
    assert guards == [Guard("nll", "adversarial", 0.5)]


def test_a_fields_name_means_a_guard_for_each_value() -> None:
    gate = GateConfig(guards=(GuardConfig(metric="nll", slice="kind"),))
    names = [guard.slice_name for guard in list_guards(gate, ["nll"], {"test": ROWS})]
    assert names == ["kind=explain", "kind=write"]
    assert list_slices("level", ROWS) == [{"level": "1.5"}, {"level": "3"}]


@pytest.mark.parametrize("wanted", [{"level": 3}, {"level": "3"}, {"hard": True}, {"hard": "true"}])
def test_values_are_compared_as_they_are_written(wanted: dict[str, str]) -> None:
    assert [belongs(row, wanted) for row in ROWS] == [True, False, False]


def test_all_fields_of_a_slice_must_fit() -> None:
    assert not belongs(ROWS[0], {"kind": "explain", "level": 1})
    assert belongs(ROWS[0], {"kind": "explain", "level": 3})
    assert not belongs(ROWS[0], {"hard": 1})


@pytest.mark.parametrize(
    ("wanted", "gap"),
    [
        ({"kind": "write"}, None),
        ("kind", None),
        ({"kind": "wrote"}, ("no row has kind=wrote", "kind=explain, kind=write")),
        ("colour", ("no row has a field 'colour'", "hard, kind, level")),
        ({"kind": "write", "level": 3}, (
            "no row has kind=write, level=3",
            "kind=explain, kind=write, level=1.5, level=3",
        )),
    ],
)  # fmt: skip
def test_a_slice_without_rows_is_explained(
    wanted: str | dict[str, str], gap: tuple[str, str] | None
) -> None:
    assert find_gap(wanted, ROWS) == gap


def test_both_arms_keep_the_rows_of_a_slice() -> None:
    rows = make_rows([1.0] * 6)
    other = [replace(row, prediction="x") for row in rows]
    pairing = Pairing("baseline", "test", rows, other, 0, same_tokenizer=True)
    chosen = select_slice(pairing, Guard("nll", "test", 0.1, {"kind": "write"}))
    assert [row.id for row in chosen.candidate_rows] == ["id1", "id3", "id5"]
    assert [row.id for row in chosen.opponent_rows] == ["id1", "id3", "id5"]
    assert select_slice(pairing, Guard("nll", "test", 0.1)) is pairing
