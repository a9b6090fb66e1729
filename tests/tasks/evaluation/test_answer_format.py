import doctest

import pytest

from tasks.evaluation import answer_format
from tasks.evaluation.answer_format import build_format_check

SCHEMA = {
    "type": "object",
    "properties": {"price": {"type": "number"}},
    "required": ["price"],
    "additionalProperties": False,
}


def test_nothing_is_checked_without_a_form() -> None:
    assert build_format_check(None, {}) is None


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"price": 3}', 1),
        (' {"price": 3.5}\n', 1),
        ('{"price": "3"}', 0),
        ('{"price": NaN}', 0),
        ('{"price": 3} indeed', 0),
        ("", 0),
        ("[]", 0),
    ],
)
def test_an_answer_is_an_instance_of_the_schema(answer: str, score: float) -> None:
    check = build_format_check(None, SCHEMA)
    assert check is not None
    assert check(answer) == score


def test_pattern_and_schema_hold_together() -> None:
    check = build_format_check(r".{1,12}", SCHEMA)
    assert check is not None
    assert [check('{"price": 3}'), check('{"price": 300000}'), check("short")] == [1, 0, 0]


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(answer_format).failed == 0
