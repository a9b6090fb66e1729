"""Repair of miswritten FLOWROLL and DIMMATCH formulas: what has one obvious right form."""

import re

from dsl import ARGUMENT_NAMES, DIRECTIONS, FormulaError, format_formula, parse_formula

DIRECTION_SYNONYMS = {
    "BACKWARD": "BACK",
    "PAST": "BACK",
    "LAST": "BACK",
    "FORWARD": "AHEAD",
    "FUTURE": "AHEAD",
    "NEXT": "AHEAD",
}
ROUND_BRACKETS = str.maketrans("[{]};", "(()),")
INNERMOST_CALL = re.compile(r"([A-Za-z]+)\(([^()]*)\)")


def repair_formula(text: str) -> str:
    """Give the canonical form of a formula with the slips that the reference lists.

    >>> repair_formula("flowrol[3; open order; back")
    'FLOWROLL( open order, 3, BACK )'

    Raises:
        FormulaError: The text has no single right form.
    """
    text = text.strip().translate(ROUND_BRACKETS)
    text += ")" * (text.count("(") - text.count(")"))
    return format_formula(parse_formula(repair_calls(text)))


def repair_calls(text: str) -> str:
    """Repair every call from the inside out; a repaired one stands aside as a marker meanwhile."""
    repaired: list[str] = []
    while call := INNERMOST_CALL.search(text):
        repaired.append(repair_call(call[1], call[2]))
        text = f"{text[: call.start()]}<{len(repaired) - 1}>{text[call.end() :]}"
    while marker := re.search(r"<(\d+)>", text):
        text = text[: marker.start()] + repaired[int(marker[1])] + text[marker.end() :]
    return text


def repair_call(function: str, body: str) -> str:
    """Repair the name, the direction and the order of the arguments of one call."""
    name = repair_function_name(function)
    arguments = [argument.strip() for argument in body.split(",")]
    if name == "FLOWROLL":
        arguments = sorted(map(repair_direction, arguments), key=rank_argument)
    return f"{name}({', '.join(arguments)} )"


def repair_function_name(name: str) -> str:
    """Give the function that a name is at most one edit away from, capitals aside."""
    for function in ARGUMENT_NAMES:
        if is_one_edit_away(name.upper(), function):
            return function
    raise FormulaError(f"unknown function {name}")


def is_one_edit_away(a: str, b: str) -> bool:
    """Tell whether at most one letter was put in, left out or replaced, or two neighbours swapped.

    >>> is_one_edit_away("FLOWROL", "FLOWROLL"), is_one_edit_away("FLOWSUM", "FLOWROLL")
    (True, False)
    """
    if len(a) < len(b):
        a, b = b, a
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(b))
    if len(a) > len(b):
        return a[start + 1 :] == b[start:]
    is_swap = a[start : start + 2] == b[start : start + 2][::-1]
    return a[start + 1 :] == b[start + 1 :] or (is_swap and a[start + 2 :] == b[start + 2 :])


def repair_direction(argument: str) -> str:
    """Write a direction or its synonym as BACK or AHEAD; leave any other argument."""
    word = argument.upper()
    return word if word in DIRECTIONS else DIRECTION_SYNONYMS.get(word, argument)


def rank_argument(argument: str) -> int:
    """Rank an argument of FLOWROLL by its look: value, then periods, then direction."""
    if argument in DIRECTIONS:
        return 2
    return 1 if re.fullmatch(r"-?\d+", argument) else 0
