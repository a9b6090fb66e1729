"""The metrics of answers in the language itself."""

import doctest

import checker
import pytest
from dsl import parse_formula


@pytest.mark.parametrize(
    ("prediction", "reference", "same_formula", "same_value"),
    [
        ("FLOWROLL(open order,3,BACK)", "FLOWROLL( open order, 3, BACK )", True, True),
        ("FLOWROLL( b + a, 2, BACK )", "FLOWROLL( a + b, 2, BACK )", False, True),
        ("FLOWROLL( a, 1, AHEAD )", "FLOWROLL( a, 1, BACK )", False, True),
        ("FLOWROLL( a, 2, AHEAD )", "FLOWROLL( a, 2, BACK )", False, False),
        ("FLOWROLL( a - b, 2, BACK )", "FLOWROLL( b - a, 2, BACK )", False, False),
        ("DIMMATCH( key,old )", "DIMMATCH( key, old )", True, True),
        ("DIMMATCH( old, key )", "DIMMATCH( key, old )", False, False),
        ("DIMMATCH( key, old )", "FLOWROLL( key, 1, BACK )", False, False),
        ("FLOWROLL( a, 0, BACK )", "FLOWROLL( a, 1, BACK )", False, False),
        ("3,-4", "3, -4", False, True),
        ("3, 4", "3, -4", False, False),
        ("Sum of a, this only.", "Sum of a, this only.", True, True),
        ("FLOWROLL( a, 1, BACK )", "Error: unknown function ROLL.", False, False),
    ],
)
def test_formulas_are_compared_by_what_they_say_and_give(
    prediction: str, reference: str, same_formula: bool, same_value: bool
) -> None:
    assert checker.score_formula(prediction, reference) == same_formula
    assert checker.score_value(prediction, reference) == same_value


def test_plans_hold_every_name_and_are_drawn_alike() -> None:
    formulas = (
        parse_formula("FLOWROLL( FLOWROLL( a + b - c, 2, BACK ), 3, AHEAD )"),
        parse_formula("DIMMATCH( key, old )"),
    )
    plans = list(checker.draw_plans(*formulas))
    assert len(plans) == checker.NUM_PLANS
    assert all(set(plan.items) == {"a", "b", "c"} for plan in plans)
    assert all(set(plan.dimensions) == {"key", "old"} for plan in plans)
    assert plans == list(checker.draw_plans(*formulas))


def test_examples_in_docstrings_run() -> None:
    result = doctest.testmod(checker)
    assert result.attempted > 0
    assert result.failed == 0
