"""Metrics of answers in the language itself: same formula, same value.

For `evaluation.custom_metrics`, such as `formula_equal: data/flowroll/checker.py:score_formula`.
"""

import random
from collections.abc import Iterator

from dsl import (
    Formula,
    FormulaError,
    Item,
    Match,
    Roll,
    Sum,
    Table,
    evaluate_formula,
    parse_formula,
)

NUM_PLANS = 5
NUM_PERIODS = 12
MEMBERS = ("file", "host", "port", "page", "line", "node", "task", "user")


def score_formula(prediction: str, reference: str) -> bool:
    """Say whether both texts are the same formula; of what is no formula, the same text.

    >>> score_formula("FLOWROLL(open order,3,BACK)", "FLOWROLL( open order, 3, BACK )")
    True
    """
    found, wanted = read_formula(prediction), read_formula(reference)
    return found == wanted if wanted else is_same_text(prediction, reference)


def score_value(prediction: str, reference: str) -> bool:
    """Say whether both formulas give the same on five drawn plans, or both texts are the same list.

    Counted per row: a formula for a formula, a list of numbers or members for such a list, and the
    same text for everything else.

    >>> sums = "FLOWROLL( b + a, 2, BACK )", "FLOWROLL( a + b, 2, BACK )"
    >>> score_value(*sums), score_value("3,-4", "3, -4")
    (True, True)
    """
    found, wanted = read_formula(prediction), read_formula(reference)
    if wanted is None:
        return split_list(prediction) == split_list(reference)
    return found is not None and all(
        evaluate_formula(found, plan) == evaluate_formula(wanted, plan)
        for plan in draw_plans(found, wanted)
    )


def read_formula(text: str) -> Formula | None:
    """Return the formula that a text is, or None."""
    try:
        return parse_formula(text)
    except FormulaError:
        return None


def is_same_text(prediction: str, reference: str) -> bool:
    """Say whether two texts are equal but for the whitespace around them."""
    return prediction.strip() == reference.strip()


def split_list(text: str) -> list[str]:
    """Return the entries between commas."""
    return [entry.strip() for entry in text.split(",")]


def draw_plans(*formulas: Formula) -> Iterator[Table]:
    """Draw plans that hold every item and dimension of the formulas, the same ones each time."""
    items = sorted({name for formula in formulas for name in list_items(formula)})
    dimensions = sorted({name for formula in formulas for name in list_dimensions(formula)})
    for seed in range(NUM_PLANS):
        drawn = random.Random(seed)
        yield Table(
            {name: tuple(drawn.choices(range(-99, 100), k=NUM_PERIODS)) for name in items},
            {name: tuple(drawn.sample(MEMBERS, k=len(MEMBERS) // 2)) for name in dimensions},
        )


def list_items(formula: Formula | Sum | Item) -> Iterator[str]:
    """List the line items that a formula names."""
    match formula:
        case Item(name):
            yield name
        case Sum(left, _, right):
            yield from list_items(left)
            yield from list_items(right)
        case Roll(value):
            yield from list_items(value)


def list_dimensions(formula: Formula) -> tuple[str, ...]:
    """List the dimensions that a formula names."""
    return (formula.first, formula.second) if isinstance(formula, Match) else ()
