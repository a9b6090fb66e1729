"""chrF from sums that add up over rows, so that the corpus score can be resampled."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MAX_ORDER = 6
BETA = 2  # recall counts as much as in sacrebleu's default, chrF2
NUM_SUMS = 3 * MAX_ORDER


def count_chrf_sums(prediction: str, reference: str) -> tuple[float, ...]:
    """Count what corpus chrF is made of for one row.

    Args:
        prediction: The answer.
        reference: The right answer.

    Returns:
        For n = 1 to 6, character n-grams without whitespace: of the answer (0 where the reference
        has none), of the reference, common to both: 18 numbers that add up over rows.
    """
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    found = extract_all_char_ngrams(prediction, MAX_ORDER, include_whitespace=False)
    wanted = extract_all_char_ngrams(reference, MAX_ORDER, include_whitespace=False)
    return tuple(
        float(number) for pair in zip(found, wanted, strict=True) for number in _count_order(*pair)
    )


def _count_order(found: Counter[str], wanted: Counter[str]) -> tuple[int, int, int]:
    num_found = found.total() if wanted else 0
    return num_found, wanted.total(), (found & wanted).total()


def combine_chrf(sums: Array) -> Array:
    """Compute corpus chrF2, in [0, 1], without word n-grams and without smoothing.

    (1 + β²) P R / (β² P + R) with β = 2; P and R are the means over n of common n-grams over those
    of the answers and of the references, over the orders n that both sides have; 0 where nothing
    is common.

    Args:
        sums: Sums over rows of `count_chrf_sums`, shape (..., 18).

    Returns:
        chrF, shape (...).

    Source: Popović 2015; as in sacrebleu's `CHRF()`, nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no.
    """
    orders = sums.reshape(*sums.shape[:-1], MAX_ORDER, 3)
    found, wanted, common = orders[..., 0], orders[..., 1], orders[..., 2]
    counts = (found > 0) & (wanted > 0)
    num_orders = np.maximum(counts.sum(axis=-1), 1)
    precision = np.where(counts, common / np.maximum(found, 1), 0).sum(axis=-1) / num_orders
    recall = np.where(counts, common / np.maximum(wanted, 1), 0).sum(axis=-1) / num_orders
    weighted = BETA**2 * precision + recall
    score: Array = (1 + BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)
    return score


def score_sentence_chrf(prediction: str, reference: str) -> float:
    """Compute one row's chrF; the metric `chrf` is the corpus score.

    >>> round(score_sentence_chrf("the cat", "the cat"), 3), score_sentence_chrf("x", "abc")
    (1.0, 0.0)
    """
    return float(combine_chrf(np.array(count_chrf_sums(prediction, reference))))
