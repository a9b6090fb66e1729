"""BLEU from sums that add up over rows, so that the corpus score can be resampled."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

TOKEN = re.compile(r"\w+|[^\w\s]")
MAX_ORDER = 4
EPSILON = 0.1  # nltk's SmoothingFunction().method1: added to a numerator that is 0
NUM_SUMS = 2 * MAX_ORDER + 2


def split_tokens(text: str) -> list[str]:
    """Return words and single punctuation marks, case kept: signs matter in code-like answers.

    >>> split_tokens("ROLL(-5)")
    ['ROLL', '(', '-', '5', ')']
    """
    return TOKEN.findall(text)


def count_bleu_sums(prediction: str, reference: str) -> tuple[float, ...]:
    """Count what corpus BLEU is made of for one row.

    Args:
        prediction: The answer.
        reference: The right answer.

    Returns:
        Clipped n-gram matches for n = 1 to 4, n-grams of the answer for n = 1 to 4, tokens of the
        answer, tokens of the reference: 10 numbers that add up over rows.
    """
    from nltk.translate.bleu_score import modified_precision  # import costs a second

    hypothesis, truth = split_tokens(prediction), split_tokens(reference)
    precisions = [modified_precision([truth], hypothesis, n) for n in range(1, MAX_ORDER + 1)]
    return (
        *(float(p.numerator) for p in precisions),
        *(float(p.denominator) for p in precisions),
        float(len(hypothesis)),
        float(len(truth)),
    )


def combine_bleu(sums: Array) -> Array:
    """Compute corpus BLEU-4, in [0, 1], with nltk's smoothing method 1.

    BP · exp(¼ Σ log pₙ), pₙ = matches / n-grams over the corpus, 0.1 / n-grams where nothing
    matches, BP = exp(1 - reference tokens / answer tokens) for short answers; 0 without any
    matching unigram.

    Args:
        sums: Sums over rows of `count_bleu_sums`, shape (..., 10).

    Returns:
        BLEU, shape (...).

    Source: Papineni et al. 2002; Chen and Cherry 2014, method 1; as in nltk's `corpus_bleu`.
    """
    matches, totals = sums[..., :MAX_ORDER], sums[..., MAX_ORDER : 2 * MAX_ORDER]
    length, reference_length = sums[..., -2], sums[..., -1]
    precisions = np.where(matches > 0, matches, EPSILON) / np.maximum(totals, 1.0)
    log_brevity = np.minimum(0.0, 1.0 - reference_length / np.maximum(length, 1.0))
    score: Array = np.exp(log_brevity + np.log(precisions).mean(axis=-1))
    return np.where(matches[..., 0] > 0, score, 0.0)


def score_sentence_bleu(prediction: str, reference: str) -> float:
    """Compute one row's BLEU with method 1, over as many orders as the answer has tokens (≤ 4).

    Re-weighted so that an exact answer of fewer than four tokens scores 1, not near 0. Shown by
    example only; the metric `bleu` is the corpus score.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    hypothesis, truth = split_tokens(prediction), split_tokens(reference)
    if not hypothesis:
        return float(not truth)
    smoothing = SmoothingFunction().method1
    score = sentence_bleu([truth], hypothesis, smoothing_function=smoothing, auto_reweigh=True)
    return float(score)
