from __future__ import annotations

from tasks.formatting.primary import choose_primary_metrics
from tasks.formatting.rows.examples import Example, Message


def make_examples(answers: list[str], prompt: str = "") -> list[Example]:
    return [
        Example(
            str(n), str(n), (Message("user", prompt or str(n)), Message("assistant", a)), "", ""
        )
        for n, a in enumerate(answers)
    ]


def test_short_answers_with_one_right_form_are_closed() -> None:
    assert choose_primary_metrics(make_examples(["3"] * 9 + ["x" * 500]), "messages") == (
        "exact_match",
    )


def test_long_answers_are_open() -> None:
    assert choose_primary_metrics(make_examples(["3"] * 8 + ["x\ny"] * 2), "messages") == ("nll",)


def test_different_answers_to_one_prompt_are_open() -> None:
    examples = make_examples(["three", "3"], prompt="How many?")
    assert choose_primary_metrics(examples, "messages") == ("nll",)


def test_texts_and_no_test_split_are_open() -> None:
    assert choose_primary_metrics(make_examples(["3"]), "text") == ("nll",)
    assert choose_primary_metrics([], "messages") == ("nll",)
