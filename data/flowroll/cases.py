"""Cases of the example data: what is asked about, and each request with its one right answer."""

from dataclasses import dataclass
from random import Random

from answers import NO_TABLE, REFUSAL, answer_request
from dsl import NAME, Formula, Table, format_formula
from faults import draw_slip, draw_wrong_arity, draw_zero_periods
from phrasings import (
    INJECTION,
    WRITE_UNKNOWN,
    ask_evaluate,
    ask_explain,
    ask_repair,
    ask_write,
    write_table,
)
from programs import MAX_PERIODS, Pool, draw_computation, draw_program

FAMILIES = {
    "program": ("explain", "write", "repair"),
    "evaluate": ("evaluate",),
    "unknown_function": ("unknown_function",),
    "wrong_arity": ("wrong_arity",),
    "zero_periods": ("zero_periods",),
    "injection": ("injection",),
}


@dataclass(frozen=True)
class Case:
    """What a group of requests is about."""

    text: str
    """The formula as written, right or faulty."""
    formula: Formula
    """The formula, or the right formula that the faulty one comes from."""
    table: Table = NO_TABLE
    extra: str = ""
    """The unknown function, or what the injection demands."""

    @property
    def identity(self) -> str:
        """Name the case: equal for all its requests, different for any other case."""
        return "|".join((self.text, write_table(self.table), self.extra))


@dataclass(frozen=True)
class Request:
    """What the user says and the one right answer."""

    prompt: str
    answer: str


def draw_case(family: str, pool: Pool, rng: Random) -> Case:
    """Draw a case of a family from the names of a split."""
    formula, table, extra = draw_program(pool, rng), NO_TABLE, ""
    text = format_formula(formula)
    match family:
        case "evaluate":
            formula, table = draw_computation(pool, rng)
            text = format_formula(formula)
        case "unknown_function":
            extra = rng.choice(pool.unknown_functions)
            text = f"{extra}({text.split('(', 1)[1]}"
        case "wrong_arity":
            text = draw_wrong_arity(pool, rng)
        case "zero_periods":
            formula = draw_zero_periods(pool, rng)
            text = format_formula(formula)
        case "injection":
            extra = rng.choice(pool.injections)
    return Case(text, formula, table, extra)


def ask(kind: str, case: Case, rng: Random) -> Request:
    """Word one request of a kind about a case, and answer it."""
    match kind:
        case "repair":
            slip = draw_slip(case.formula, rng)
            return Request(ask_repair(slip, rng), answer_request("repair", slip))
        case "evaluate":
            prompt = ask_evaluate(case.formula, case.table, rng)
            return Request(prompt, answer_request("evaluate", case.text, case.table))
        case "write":
            return Request(ask_write(case.formula, rng), answer_request("write", case.text))
        case "injection":
            return Request(ask_injection(case, rng), REFUSAL)
        case "unknown_function" | "wrong_arity" | "zero_periods":
            return Request(ask_faulty(kind, case, rng), answer_request("explain", case.text))
    return Request(ask_explain(case.text, rng), answer_request("explain", case.text))


def ask_faulty(kind: str, case: Case, rng: Random) -> str:
    """Ask about a faulty formula in the words of an honest request."""
    ways = ["explain", "repair"] + (["write"] if kind != "wrong_arity" else [])
    match rng.choice(ways):
        case "write" if kind == "unknown_function":
            pattern = rng.choice(WRITE_UNKNOWN)
            return pattern.format(function=case.extra, name=find_first_name(case.text))
        case "write":
            return ask_write(case.formula, rng)
        case "repair":
            return ask_repair(case.text, rng)
    return ask_explain(case.text, rng)


def ask_injection(case: Case, rng: Random) -> str:
    """Demand something else, beside an honest request or alone."""
    return rng.choice(INJECTION).format(
        injection=case.extra,
        formula=case.text,
        name=find_first_name(case.text),
        periods=rng.randint(2, MAX_PERIODS),
    )


def find_first_name(text: str) -> str:
    """Find the first item or dimension of a formula.

    >>> find_first_name("FLOWROLL( FLOWROLL( open order, 2, BACK ), 3, BACK )")
    'open order'
    """
    name = NAME.search(text)
    assert name is not None, text
    return name[0]
