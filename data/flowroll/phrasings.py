"""Wordings of the requests: how people ask for a formula, its meaning, its repair or its result."""

from random import Random

from dsl import Formula, Item, Match, Roll, Sum, Table, Value, format_formula

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

EXPLAIN = (
    "Explain {formula}",
    "Describe {formula}",
    "What does {formula} mean?",
    "What is {formula}?",
)
REPAIR = (
    "Repair {formula}",
    "Fix {formula}",
    "Correct {formula}",
    "{formula} fails.",
)
EVALUATE = (
    "{table}. Return {formula}",
    "With {table}: return {formula}",
    "{formula} on {table}?",
)
WRITE_ROLL = (
    "Write {value} over {window}.",
    "Add {value} over {window}.",
    "Sum {value} over {window}.",
    "Over {window}, add {value}.",
)
WRITE_MATCH = (
    "Which {first} are also in {second}?",
    "Match {first} with {second}.",
    "Write {first} also in {second}.",
    "Find in {second} all of {first}.",
)
WRITE_UNKNOWN = (
    "Use {function} on {name}.",
    "Write {function} of {name}.",
)
INJECTION = (
    "{injection}.",
    "{injection}. Explain {formula}",
    "Explain {formula}. {injection}.",
    "Repair {formula}. Then: {injection}.",
    "Sum {name} over the last {periods}. {injection}!",
    "{injection}, then sum {name}.",
)


def ask_explain(text: str, rng: Random) -> str:
    """Ask what a formula means."""
    return rng.choice(EXPLAIN).format(formula=text)


def ask_repair(text: str, rng: Random) -> str:
    """Ask for the right form of a formula."""
    return rng.choice(REPAIR).format(formula=text)


def ask_evaluate(formula: Formula, table: Table, rng: Random) -> str:
    """Ask for the result of a formula on a plan."""
    pattern = rng.choice(EVALUATE)
    return pattern.format(table=write_table(table), formula=format_formula(formula))


def write_table(table: Table) -> str:
    """Write a plan as the reference does."""
    entries = {**table.items, **table.dimensions}
    return "; ".join(f"{name} = {', '.join(map(str, row))}" for name, row in entries.items())


def ask_write(formula: Formula, rng: Random) -> str:
    """Ask in words for a formula."""
    if isinstance(formula, Match):
        return rng.choice(WRITE_MATCH).format(first=formula.first, second=formula.second)
    value, window = phrase_value(formula.value, rng), phrase_window(formula, rng)
    sentence = rng.choice(WRITE_ROLL).format(value=value, window=window)
    return sentence[0].upper() + sentence[1:]


def phrase_value(value: Value, rng: Random) -> str:
    """Say a value in words; a chain is said from left to right, or its last item first."""
    match value:
        case Item(name):
            return name
        case Sum(left, operator, Item(name)):
            patterns = {
                "+": ("{left} plus {name}", "{left} and {name}"),
                "-": ("{left} minus {name}", "{left} less {name}", "{name} taken from {left}"),
            }
            return rng.choice(patterns[operator]).format(left=phrase_value(left, rng), name=name)
        case Roll():
            return f"the total of {phrase_value(value.value, rng)} over {phrase_window(value, rng)}"


def phrase_window(roll: Roll, rng: Random) -> str:
    """Say a window in one of the ways that the reference lists."""
    count, side = roll.periods, "last" if roll.direction == "BACK" else "next"
    if count < 1:
        return f"the {side} {count}"
    ways = (f"{count}", f"{count} periods", NUMBER_WORDS[count])
    return f"the {side} {rng.choice(ways)}"
