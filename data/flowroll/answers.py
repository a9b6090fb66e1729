"""The one right answer to each kind of request, computed by the reference interpreter."""

from dsl import (
    FormulaError,
    Table,
    evaluate_formula,
    explain_formula,
    format_formula,
    parse_formula,
)
from repair import repair_formula

REFUSAL = "Refused: only FLOWROLL and DIMMATCH."
NO_TABLE = Table({}, {})


def answer_request(task: str, text: str, table: Table = NO_TABLE) -> str:
    """Answer a task about a formula, or say what is wrong with the formula.

    >>> answer_request("explain", "DIMMATCH( key group, old market )")
    'Members of key group also in old market.'
    >>> answer_request("repair", "FLOWROLL( open order, 0, BACK )")
    'Error: periods must be positive, not 0.'

    Args:
        task: One of explain, write, repair, evaluate.
        text: The formula; for write, the formula that the words ask for.
        table: The plan to evaluate on.
    """
    try:
        match task:
            case "explain":
                phrase = explain_formula(parse_formula(text))
                return f"{phrase[0].upper()}{phrase[1:]}."
            case "write":
                return format_formula(parse_formula(text))
            case "repair":
                return repair_formula(text)
            case "evaluate":
                return evaluate_formula(parse_formula(text), table)
    except FormulaError as error:
        return f"Error: {error}."
    raise ValueError(f"no such task: {task}")
