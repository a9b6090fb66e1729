import numpy as np
import pytest
from sacrebleu.metrics.chrf import CHRF

from tasks.evaluation.chrf import (
    NUM_SUMS,
    combine_chrf,
    count_chrf_sums,
    score_sentence_chrf,
)

PAIRS = [
    ("the cat sat on the mat", "the cat is on the mat"),
    ("FLOWROLL( open order, 3, BACK )", "FLOWROLL(open order, 3, AHEAD)"),
    ("", "something"),
    ("ab", "abcdefgh"),
    ("größe é 漢字", "Größe e 漢字"),
]


@pytest.mark.parametrize(("prediction", "reference"), PAIRS)
def test_a_row_scores_as_in_sacrebleu(prediction: str, reference: str) -> None:
    expected = CHRF().sentence_score(prediction, [reference]).score / 100
    assert score_sentence_chrf(prediction, reference) == pytest.approx(expected, abs=1e-9)


def test_sums_give_sacrebleus_corpus_score() -> None:
    predictions, references = map(list, zip(*PAIRS, strict=True))
    sums = np.array([count_chrf_sums(*pair) for pair in PAIRS])
    assert sums.shape == (len(PAIRS), NUM_SUMS)
    expected = CHRF().corpus_score(predictions, [references]).score / 100
    assert float(combine_chrf(sums.sum(axis=0))) == pytest.approx(expected, abs=1e-9)


def test_many_resampled_sums_are_combined_at_once() -> None:
    sums = np.array([count_chrf_sums(*pair) for pair in PAIRS])
    stacked = np.stack([sums, sums[::-1]])
    assert combine_chrf(stacked).shape == (2, len(PAIRS))
    assert combine_chrf(np.zeros(NUM_SUMS)) == 0
