import math
from dataclasses import replace

import numpy as np
import pytest

from configs.schema import EvaluationConfig
from tasks.evaluation.metrics import (
    METRICS,
    compute_metrics,
    find_metric,
    has_metric,
    score_answer,
    score_exact_match,
    score_jaccard,
    score_rouge,
)
from tests.tasks.evaluation.rows import make_row

ALL = EvaluationConfig().metrics


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


def test_only_the_wanted_scores_are_computed() -> None:
    assert set(score_answer("a", "a", ALL)) == set(ALL) - {"nll", "perplexity"}
    assert set(score_answer("a", "a", ["rougeL", "nll"])) == {"rougeL"}
    assert all(math.isclose(v, 1) for k, v in score_answer("x y z", "x y z", ALL).items())


def test_nll_is_weighted_by_tokens() -> None:
    rows = [make_row(0, nll_sum=10.0, num_tokens=10), make_row(1, nll_sum=1.0, num_tokens=2)]
    values = compute_metrics(rows, ["nll", "perplexity"])
    assert values["nll"] == pytest.approx(11 / 12)
    assert values["perplexity"] == pytest.approx(math.exp(11 / 12))


def test_bits_per_byte_do_not_depend_on_the_tokens() -> None:
    rows = [make_row(0, nll_sum=8.0, num_tokens=4, num_bytes=16)]
    other = [replace(rows[0], num_tokens=2)]
    nll = find_metric("nll", same_tokenizer=False)
    assert nll.compute(rows) == nll.compute(other) == pytest.approx(8 / math.log(2) / 16)
    perplexity = find_metric("perplexity", same_tokenizer=False).compute(rows)
    assert perplexity == pytest.approx(2 ** nll.compute(rows))
    assert find_metric("exact_match", same_tokenizer=False) is METRICS["exact_match"]


def test_less_nll_is_an_improvement() -> None:
    one, two = np.array(1.0), np.array(2.0)
    assert METRICS["nll"].improve(one, two) == 1
    assert METRICS["exact_match"].improve(one, two) == -1


def test_rows_without_answers_have_only_nll() -> None:
    rows = [make_row(0, scores={}), make_row(1, scores={})]
    assert set(compute_metrics(rows, ALL)) == {"nll", "perplexity", "bleu"} - {"bleu"}
    assert not has_metric([make_row(0, num_tokens=0)], "nll")
    assert compute_metrics([], ALL) == {}


def test_every_configured_metric_is_known() -> None:
    assert set(ALL) == set(METRICS)
