"""FLOWROLL and DIMMATCH formulas: parser, canonical text, explanation and reference interpreter."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ARGUMENT_NAMES = {
    "FLOWROLL": ("value", "periods", "direction"),
    "DIMMATCH": ("first dimension", "second dimension"),
}
DIRECTIONS = ("BACK", "AHEAD")
NO_MEMBERS = "none"

NAME = re.compile(r"[a-z]+(?: [a-z]+)*")
CALL = re.compile(r"([A-Za-z]+)\s*\((.*)\)")
DEFINITION = re.compile(rf"({NAME.pattern}) = ([\w-]+(?:, [\w-]+)*)")


class FormulaError(ValueError):
    """A formula that the language does not allow; the text is the language's own wording."""


@dataclass(frozen=True)
class Item:
    """A line item: one number for each period."""

    name: str


@dataclass(frozen=True)
class Sum:
    """A chain of line items added or subtracted period by period, from left to right."""

    left: "Item | Sum"
    operator: str
    right: Item


@dataclass(frozen=True)
class Roll:
    """FLOWROLL: the sum of a value over a window of periods that holds the current one."""

    value: "Value"
    periods: int
    direction: str


@dataclass(frozen=True)
class Match:
    """DIMMATCH: the members of the first dimension that the second has too."""

    first: str
    second: str


Value = Item | Sum | Roll
Formula = Roll | Match


@dataclass(frozen=True)
class Table:
    """The plan that a formula is computed on: numbers of items, members of dimensions."""

    items: Mapping[str, tuple[int, ...]]
    dimensions: Mapping[str, tuple[str, ...]]


def parse_formula(text: str) -> Formula:
    """Read a formula; spaces around commas, brackets and operators are free.

    >>> parse_formula("DIMMATCH( key group,old market )")
    Match(first='key group', second='old market')

    Raises:
        FormulaError: The text is not a formula of the language.
    """
    call = CALL.fullmatch(text.strip())
    if call is None:
        raise FormulaError("a formula is one call of FLOWROLL or DIMMATCH")
    arguments = parse_arguments(call[1], call[2])
    if call[1] == "DIMMATCH":
        return Match(parse_name(arguments[0]), parse_name(arguments[1]))
    return Roll(
        parse_value(arguments[0]), parse_periods(arguments[1]), parse_direction(arguments[2])
    )


def parse_value(text: str) -> Value:
    """Read a FLOWROLL, or items joined by + and -."""
    if "(" in text:
        formula = parse_formula(text)
        if isinstance(formula, Match):
            raise FormulaError("DIMMATCH gives members, not a value")
        return formula
    first, *rest = re.split(r"\s*([+-])\s*", text)
    value: Item | Sum = Item(parse_name(first))
    for operator, name in zip(rest[::2], rest[1::2], strict=True):
        value = Sum(value, operator, Item(parse_name(name)))
    return value


def parse_periods(text: str) -> int:
    """Read a period count."""
    if not re.fullmatch(r"-?[0-9]+", text):
        raise FormulaError(f"periods must be a whole number, not {text or 'nothing'}")
    if int(text) < 1:
        raise FormulaError(f"periods must be positive, not {int(text)}")
    return int(text)


def parse_direction(text: str) -> str:
    """Read a direction."""
    if text not in DIRECTIONS:
        raise FormulaError(f"direction must be BACK or AHEAD, not {text or 'nothing'}")
    return text


def parse_arguments(function: str, body: str) -> list[str]:
    """Split a call's arguments and check the function's name and their number."""
    if function not in ARGUMENT_NAMES:
        raise FormulaError(f"unknown function {function}")
    arguments = split_arguments(body) if body.strip() else []
    expected = len(ARGUMENT_NAMES[function])
    if len(arguments) != expected:
        raise FormulaError(f"{function} takes {expected} arguments, not {len(arguments)}")
    return arguments


def parse_name(text: str) -> str:
    """Check the name of an item or a dimension: small letters with single spaces."""
    if not NAME.fullmatch(text):
        raise FormulaError(f"not a name: {text or 'nothing'}")
    return text


def split_arguments(text: str) -> list[str]:
    """Split at the commas that stand outside brackets.

    >>> split_arguments("FLOWROLL( open order, 2, BACK ), 3, AHEAD")
    ['FLOWROLL( open order, 2, BACK )', '3', 'AHEAD']
    """
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise FormulaError("brackets do not pair up")
    return [part.strip() for part in parts]


def format_formula(formula: Formula | Value) -> str:
    """Write a formula in its one canonical form.

    >>> format_formula(parse_formula("FLOWROLL( open order,3,BACK )"))
    'FLOWROLL( open order, 3, BACK )'
    """
    match formula:
        case Item(name):
            return name
        case Sum(left, operator, right):
            return f"{format_formula(left)} {operator} {format_formula(right)}"
        case Roll(value, periods, direction):
            return f"FLOWROLL( {format_formula(value)}, {periods}, {direction} )"
        case Match(first, second):
            return f"DIMMATCH( {first}, {second} )"


def explain_formula(formula: Formula | Value) -> str:
    """Say in one canonical English phrase what a formula gives.

    >>> explain_formula(parse_formula("FLOWROLL( open order, 3, BACK )"))
    'sum of open order, this and 2 before'
    """
    match formula:
        case Item(name):
            return name
        case Sum(left, operator, right):
            word = "plus" if operator == "+" else "minus"
            return f"{explain_formula(left)} {word} {explain_formula(right)}"
        case Roll(value, periods, direction):
            side = "before" if direction == "BACK" else "after"
            window = f"this and {periods - 1} {side}" if periods > 1 else "this only"
            return f"sum of {explain_formula(value)}, {window}"
        case Match(first, second):
            return f"members of {first} also in {second}"


def evaluate_value(value: Value, items: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Compute a value for each period; periods outside the plan count as nothing.

    Raises:
        FormulaError: An item is not in the plan.
    """
    match value:
        case Item(name):
            if name not in items:
                raise FormulaError(f"no item {name}")
            return tuple(items[name])
        case Sum(left, operator, right):
            sign = 1 if operator == "+" else -1
            pairs = zip(evaluate_value(left, items), evaluate_value(right, items), strict=True)
            return tuple(a + sign * b for a, b in pairs)
        case Roll(inner, periods, direction):
            return roll_numbers(evaluate_value(inner, items), periods, direction)


def roll_numbers(numbers: Sequence[int], periods: int, direction: str) -> tuple[int, ...]:
    """Sum a window that starts (AHEAD) or ends (BACK) at each period.

    >>> roll_numbers((2, 1, 3), 2, "BACK"), roll_numbers((2, 1, 3), 2, "AHEAD")
    ((2, 3, 4), (3, 4, 3))
    """
    if direction == "AHEAD":
        return roll_numbers(numbers[::-1], periods, "BACK")[::-1]
    return tuple(sum(numbers[max(0, i + 1 - periods) : i + 1]) for i in range(len(numbers)))


def match_members(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """Keep the members of the first dimension that the second has too, in the first's order.

    >>> match_members(("file", "host", "port"), ("port", "file"))
    ('file', 'port')
    """
    return tuple(member for member in first if member in second)


def evaluate_formula(formula: Formula, table: Table) -> str:
    """Compute a formula on a plan and write the result as the language does.

    Raises:
        FormulaError: An item or a dimension is not in the plan.
    """
    if not isinstance(formula, Match):
        return ", ".join(map(str, evaluate_value(formula, table.items)))
    for name in (formula.first, formula.second):
        if name not in table.dimensions:
            raise FormulaError(f"no dimension {name}")
    members = match_members(table.dimensions[formula.first], table.dimensions[formula.second])
    return ", ".join(members) or NO_MEMBERS


def parse_table(text: str) -> Table:
    """Read every `Name = a, b, c` in a text: numbers make an item, words a dimension.

    >>> parse_table("Given: open order = 2, 1; key group = file, host. Go.").items
    {'open order': (2, 1)}
    """
    items: dict[str, tuple[int, ...]] = {}
    dimensions: dict[str, tuple[str, ...]] = {}
    for name, written in DEFINITION.findall(text):
        entries = written.split(", ")
        if all(re.fullmatch(r"-?\d+", entry) for entry in entries):
            items[name] = tuple(map(int, entries))
        else:
            dimensions[name] = tuple(entries)
    return Table(items, dimensions)
