import doctest

import pytest

from tasks.evaluation import text_scores
from tasks.evaluation.text_scores import (
    normalise_answer,
    score_exact_match,
    score_jaccard,
    score_normalised_match,
    score_rouge,
    score_token_f1,
)


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("a", "a", 1),
        (" a\n", "a", 1),
        ("A", "a", 0),
        ("5", "-5", 0),
        ("a  b", "a b", 0),
        ("", "", 1),
    ],
)
def test_exact_match_ignores_surrounding_whitespace_only(
    prediction: str, reference: str, score: float
) -> None:
    assert score_exact_match(prediction, reference) == score


def test_jaccard_counts_words_and_marks_once() -> None:
    assert score_jaccard("ROLL(-5)", "ROLL(5)") == 4 / 5
    assert score_jaccard("a a b", "b a") == 1
    assert score_jaccard("", "a") == 0
    assert score_jaccard("", "") == 1


def test_rouge_ignores_signs_and_case() -> None:
    assert score_rouge("the cat sat", "the cat ran")["rouge1"] == pytest.approx(2 / 3)
    assert score_rouge("the cat sat", "the cat ran")["rouge2"] == pytest.approx(1 / 2)
    assert score_rouge("sat the cat", "the cat sat")["rougeL"] == pytest.approx(2 / 3)
    assert score_rouge("-5", "5")["rouge1"] == 1


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [("The  Cat!", "cat", 1), ("ﬁne", "fine", 1), ("STRASSE", "straße", 1), ("5", "6", 0)],
)
def test_a_normalised_match_ignores_case_marks_and_articles(
    prediction: str, reference: str, score: float
) -> None:
    assert score_normalised_match(prediction, reference) == score


def test_normalising_keeps_words_that_hold_an_article() -> None:
    assert normalise_answer("An anthem, a theme") == "anthem theme"


def test_token_f1_counts_repeated_tokens() -> None:
    assert score_token_f1("a a b", "a b") == pytest.approx(2 * 2 / 5)
    assert score_token_f1("ROLL(-5)", "ROLL(5)") == pytest.approx(2 * 4 / 9)
    assert score_token_f1("", "a") == 0
    assert score_token_f1("", "") == 1


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(text_scores).failed == 0
