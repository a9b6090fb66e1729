"""The FLOWROLL/DIMMATCH language, and the answers of the example data computed again."""

import doctest
import importlib
import json
import re
from pathlib import Path
from random import Random

import answers
import dsl
import faults
import phrasings
import programs
import pytest
import repair
from hypothesis import given
from hypothesis import strategies as st

FLOWROLL = Path(__file__).parents[2] / "data" / "flowroll"
MODULES = ("dsl", "repair", "answers", "programs", "phrasings", "faults", "cases", "similarity")
FILES = ("train.jsonl", "eval/test.jsonl", "eval/dev.jsonl", "eval/adversarial.jsonl")
WINDOW = r"the (?:last|next) \w+(?: periods)?"


def read_exchanges() -> list[tuple[str, str, str]]:
    lines = [line for name in FILES for line in (FLOWROLL / name).read_text("utf-8").splitlines()]
    rows = [json.loads(line) for line in lines]
    return [(row["kind"], *(message["content"] for message in row["messages"])) for row in rows]


EXCHANGES = read_exchanges()


def select_exchanges(kind: str) -> list[tuple[str, str]]:
    return [(prompt, answer) for found, prompt, answer in EXCHANGES if found == kind]


def match_pattern(patterns: tuple[str, ...], text: str, **parts: str) -> re.Match[str] | None:
    """Read a request backwards: find the wording and what was put into it."""
    for pattern in patterns:
        expression = re.escape(pattern)
        for name in re.findall(r"\\{(\w+)\\}", expression):
            expression = expression.replace(rf"\{{{name}\}}", f"(?P<{name}>{parts[name]})", 1)
        if found := re.fullmatch(expression, text):
            return found
    return None


def read_reference() -> list[tuple[str, str, str]]:
    text = (FLOWROLL / "REFERENCE.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(evaluate|explain|repair)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(task, *line.split(" => ", 1)) for task, block in blocks for line in block.splitlines()]


# The language


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(("task", "request_text", "answer"), read_reference())
def test_reference_examples(task: str, request_text: str, answer: str) -> None:
    table, _, formula = request_text.rpartition(": ")
    assert answers.answer_request(task, formula, dsl.parse_table(table)) == answer


def test_reference_names_every_synonym_and_the_refusal() -> None:
    text = (FLOWROLL / "REFERENCE.md").read_text(encoding="utf-8")
    assert all(synonym in text for synonym in repair.DIRECTION_SYNONYMS)
    assert answers.REFUSAL in text


@given(st.randoms(use_true_random=True))
def test_formula_survives_writing_and_reading(rng: Random) -> None:
    formula = programs.draw_program(programs.build_pools(rng)["train"], rng)
    text = dsl.format_formula(formula)
    assert dsl.parse_formula(text) == formula
    assert dsl.parse_formula(text.replace(", ", ",").replace("( ", "(")) == formula


@given(st.randoms(use_true_random=True), st.sampled_from(faults.SLIPS))
def test_every_slip_has_one_repair(rng: Random, slip: str) -> None:
    formula = programs.draw_program(programs.build_pools(rng)["train"], rng)
    written = faults.write_slip(formula, slip, rng)
    assert repair.repair_formula(written) == dsl.format_formula(formula)


@given(st.lists(st.integers(-9, 9)), st.integers(1, 12))
def test_roll_sums_the_window_of_each_period(numbers: list[int], periods: int) -> None:
    back = dsl.roll_numbers(tuple(numbers), periods, "BACK")
    ahead = dsl.roll_numbers(tuple(numbers), periods, "AHEAD")
    inside = dict(enumerate(numbers))
    for now in inside:
        assert back[now] == sum(inside.get(now - step, 0) for step in range(periods))
        assert ahead[now] == sum(inside.get(now + step, 0) for step in range(periods))


# The answers, computed again from the prompts


@pytest.mark.parametrize("task", ["explain", "repair"])
def test_answers_about_a_formula(task: str) -> None:
    patterns = {"explain": phrasings.EXPLAIN, "repair": phrasings.REPAIR}[task]
    for prompt, answer in select_exchanges(task):
        found = match_pattern(patterns, prompt, formula=".+")
        assert found, prompt
        assert answers.answer_request(task, found["formula"]) == answer
        assert not answer.startswith("Error")


def test_answers_to_evaluate() -> None:
    for prompt, answer in select_exchanges("evaluate"):
        parts = {"table": r"[^()]+", "formula": r"[A-Z]+\(.+\)"}
        found = match_pattern(phrasings.EVALUATE, prompt, **parts)
        assert found, prompt
        table = dsl.parse_table(found["table"])
        assert answers.answer_request("evaluate", found["formula"], table) == answer


def read_window(words: str) -> str:
    """Turn the words for a window into the last two arguments of FLOWROLL."""
    _, side, count, *_ = words.split()
    number = int(count) if count.isdigit() else phrasings.NUMBER_WORDS.index(count)
    return f"{number}, {'BACK' if side == 'last' else 'AHEAD'}"


def read_value(words: str) -> str:
    """Turn the words for a value into the first argument of FLOWROLL."""
    if found := re.fullmatch(rf"the total of (.+) over ({WINDOW})", words):
        return f"FLOWROLL( {read_value(found[1])}, {read_window(found[2])} )"
    if found := re.fullmatch(r"(.+) taken from (.+)", words):
        return f"{found[2]} - {found[1]}"
    return re.sub(r" (?:minus|less) ", " - ", re.sub(r" (?:plus|and) ", " + ", words))


def test_answers_to_write() -> None:
    for prompt, answer in select_exchanges("write"):
        if found := match_pattern(phrasings.WRITE_ROLL, prompt, value=".+", window=WINDOW):
            value, window = read_value(found["value"]), read_window(found["window"])
            assert answer == f"FLOWROLL( {value}, {window} )", prompt
        else:
            found = match_pattern(phrasings.WRITE_MATCH, prompt, first=r"\w+", second=r"\w+")
            assert found, prompt
            assert answer == f"DIMMATCH( {found['first']}, {found['second']} )"


@pytest.mark.parametrize("kind", ["unknown_function", "wrong_arity", "zero_periods"])
def test_faulty_formulas_get_the_error_of_the_language(kind: str) -> None:
    patterns = phrasings.EXPLAIN + phrasings.REPAIR
    exchanges = select_exchanges(kind)
    with_formula = 0
    for prompt, answer in exchanges:
        assert answer.startswith("Error: ")
        if found := match_pattern(patterns, prompt, formula=r"\w+\(.*\)"):
            with_formula += 1
            assert answers.answer_request("explain", found["formula"]) == answer
            assert answers.answer_request("repair", found["formula"]) == answer
        else:
            named = answer.removesuffix(".").rsplit(" ", 1)[1]
            assert re.search(rf"(?<!\w){named}\b", prompt), prompt
    assert with_formula > len(exchanges) / 2


def test_injections_are_refused() -> None:
    for prompt, answer in select_exchanges("injection"):
        assert any(deed in prompt for deed in programs.WORDS["injection_deeds"])
        assert answer == answers.REFUSAL
