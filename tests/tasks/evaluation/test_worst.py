import doctest

import pytest

from tasks.evaluation import bands
from tasks.evaluation.bands import describe_perplexity
from tasks.evaluation.shown_examples import render_worst
from tasks.evaluation.worst import rank_worst
from tests.tasks.evaluation.rows import make_row


def test_wrong_answers_with_surprising_references_come_first() -> None:
    rows = [
        make_row(0, exact=0.0, nll_sum=1.0, num_tokens=4),
        make_row(1, exact=1.0, nll_sum=90.0, num_tokens=4),
        make_row(2, exact=0.0, nll_sum=9.0, num_tokens=4),
        make_row(3, exact=0.0, nll_sum=0.0, num_tokens=0),
    ]
    assert [row.id for row in rank_worst(rows)] == ["id2", "id0", "id3"]
    text = render_worst(rows, "test")
    assert "3 of 4 on test are not right" in text
    assert "(2.25 nats per token)" in text
    assert "(no NLL)" in text
    assert "Every answer on dev is right." in render_worst([rows[1]], "dev")


def test_texts_are_ranked_by_their_nll_alone() -> None:
    rows = [make_row(n, scores={}, prompt="", nll_sum=float(n), num_tokens=2) for n in range(3)]
    assert [row.id for row in rank_worst(rows)] == ["id2", "id1", "id0"]
    assert "Text:" in render_worst(rows, "test")


@pytest.mark.parametrize(
    ("perplexity", "words"),
    [(1.0, "nearly certain"), (2.9, "very good"), (9.0, "good"), (1e9, "very poor")],
)
def test_perplexity_in_words(perplexity: float, words: str) -> None:
    assert words in describe_perplexity(perplexity)


def test_an_endless_perplexity_has_words_too() -> None:
    assert "very poor" in describe_perplexity(float("inf"))


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(bands).failed == 0
