import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu

from tasks.evaluation.bleu import (
    NUM_SUMS,
    combine_bleu,
    count_bleu_sums,
    score_sentence_bleu,
    split_tokens,
)

words = st.lists(st.sampled_from(["a", "b", "c", "d", "(", "-5"]), min_size=1, max_size=9)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=6)


@given(pairs)
@settings(deadline=None, max_examples=60)
def test_corpus_value_equals_nltks(rows: list[tuple[list[str], list[str]]]) -> None:
    texts = [(" ".join(prediction), " ".join(reference)) for prediction, reference in rows]
    sums = np.array([count_bleu_sums(*pair) for pair in texts])
    assert sums.shape == (len(rows), NUM_SUMS)
    expected = corpus_bleu(
        [[split_tokens(reference)] for _, reference in texts],
        [split_tokens(prediction) for prediction, _ in texts],
        smoothing_function=SmoothingFunction().method1,
    )
    assert combine_bleu(sums.sum(axis=0)) == pytest.approx(expected, abs=1e-12)


def test_many_sums_are_combined_at_once() -> None:
    sums = np.array([count_bleu_sums("a b c d e", "a b c d e"), count_bleu_sums("x", "a b")])
    assert combine_bleu(sums) == pytest.approx([1.0, 0.0])
    assert combine_bleu(sums.reshape(1, 2, -1)).shape == (1, 2)


def test_short_exact_answers_score_one_by_example() -> None:
    assert score_sentence_bleu("42", "42") == pytest.approx(1)
    assert score_sentence_bleu("f(x)", "f(x)") == pytest.approx(1)
    assert score_sentence_bleu("41", "42") == 0
    assert score_sentence_bleu("", "42") == 0
    assert score_sentence_bleu("", "") == 1
