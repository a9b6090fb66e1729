"""Miswritten formulas: slips that have one right form, and faults that have none."""

from random import Random

from dsl import DIRECTIONS, Formula, Item, Roll, format_formula
from programs import MAX_PERIODS, WORDS, Pool
from repair import DIRECTION_SYNONYMS

SLIPS = (
    "none",
    "lower",
    "left_out",
    "swapped",
    "square",
    "semicolons",
    "open",
    "direction",
    "order",
)


def draw_slip(formula: Formula, rng: Random) -> str:
    """Write a formula with one slip, or now and then with none."""
    slips = SLIPS if isinstance(formula, Roll) else SLIPS[:-2]
    return write_slip(formula, rng.choice(slips), rng)


def write_slip(formula: Formula, slip: str, rng: Random) -> str:
    """Write a formula with the given slip in its outer call."""
    if isinstance(formula, Roll) and slip in ("direction", "order"):
        return write_argument_slip(formula, slip, rng)
    text = format_formula(formula)
    function, body = text.removesuffix(")").split("(", 1)
    match slip:
        case "square":
            return f"{function}[{body}]"
        case "semicolons":
            return text.replace(",", ";")
        case "open":
            return text.removesuffix(" )")
    return f"{write_name_slip(function, slip, rng)}({body})"


def write_name_slip(function: str, slip: str, rng: Random) -> str:
    """Write a function's name in small letters, without a letter or with two swapped, or right."""
    letter = rng.randrange(1, len(function) - 1)
    match slip:
        case "lower":
            return function.lower()
        case "left_out":
            return function[:letter] + function[letter + 1 :]
        case "swapped":
            pair = function[letter : letter + 2][::-1]
            return function[:letter] + pair + function[letter + 2 :]
    return function


def write_argument_slip(formula: Roll, slip: str, rng: Random) -> str:
    """Write a FLOWROLL with a synonym of its direction or with its arguments in a wrong order."""
    value, periods, direction = format_formula(formula.value), formula.periods, formula.direction
    if slip == "direction":
        synonyms = [word for word, meant in DIRECTION_SYNONYMS.items() if meant == direction]
        return f"FLOWROLL( {value}, {periods}, {rng.choice([*synonyms, direction.lower()])} )"
    orders = [(periods, value, direction), (value, direction, periods), (direction, value, periods)]
    return f"FLOWROLL( {', '.join(map(str, rng.choice(orders)))} )"


def draw_wrong_arity(pool: Pool, rng: Random) -> str:
    """Draw a call with an argument too few or too many."""
    if rng.choice((True, False)):
        pair = rng.choice(pool.dimension_pairs)
        arguments = rng.choice(([*pair, rng.choice(WORDS["dimensions"])], [rng.choice(pool.items)]))
        return f"DIMMATCH( {', '.join(arguments)} )"
    item = rng.choice(pool.items)
    arguments = [item, str(rng.randint(2, MAX_PERIODS)), rng.choice(DIRECTIONS)]
    if rng.choice((True, False)):
        arguments.pop(rng.choice((1, 2)))
    else:
        arguments.insert(2, str(rng.randint(2, MAX_PERIODS)))
    return f"FLOWROLL( {', '.join(arguments)} )"


def draw_zero_periods(pool: Pool, rng: Random) -> Roll:
    """Draw a FLOWROLL over no periods, or over less than none."""
    periods = rng.choice((0, 0, 0, -rng.randint(1, MAX_PERIODS)))
    return Roll(Item(rng.choice(pool.items)), periods, rng.choice(DIRECTIONS))
