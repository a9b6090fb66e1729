"""Metrics by name: scores of one answer, and corpus values as a function of sums over rows."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.evaluation.bleu import (
    combine_bleu,
    count_bleu_sums,
    score_sentence_bleu,
    split_tokens,
)
from tasks.evaluation.predictions import Prediction

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A corpus metric: numbers that add up over rows, and what their sums mean."""

    name: str
    higher_is_better: bool
    sum_row: Callable[[Prediction], tuple[float, ...]]
    """The row's numbers, K of them."""
    combine: Callable[[Array], Array]
    """The metric of sums with shape (..., K)."""

    def collect_sums(self, predictions: Sequence[Prediction]) -> Array:
        """Return the rows' numbers, shape (rows, K)."""
        return np.array([self.sum_row(row) for row in predictions], dtype=np.float64)

    def compute(self, predictions: Sequence[Prediction]) -> float:
        """Return the metric over all rows."""
        return float(self.combine(self.collect_sums(predictions).sum(axis=0)))

    def improve(self, candidate: Array, opponent: Array) -> Array:
        """Return by how much the candidate is better, in the metric's unit."""
        difference = candidate - opponent
        return difference if self.higher_is_better else -difference


def score_exact_match(prediction: str, reference: str) -> float:
    """Return 1 where both texts are equal once surrounding whitespace is stripped, else 0.

    >>> score_exact_match(" -5 ", "-5"), score_exact_match("5", "-5")
    (1.0, 0.0)
    """
    return float(prediction.strip() == reference.strip())


def score_jaccard(prediction: str, reference: str) -> float:
    """Return common tokens / all tokens of the two sets of words and marks; 1 for two empty texts.

    >>> score_jaccard("a b", "b c")
    0.3333333333333333
    """
    found, wanted = set(split_tokens(prediction)), set(split_tokens(reference))
    return len(found & wanted) / len(found | wanted) if found | wanted else 1.0


@functools.cache
def load_rouge_scorer() -> Any:
    """Return the scorer of the three ROUGE variants, without stemming."""
    from rouge_score.rouge_scorer import RougeScorer  # import costs a second

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)


def score_rouge(prediction: str, reference: str) -> dict[str, float]:
    """Return ROUGE-1, ROUGE-2 (n-gram overlap) and ROUGE-L (longest common subsequence), each F1.

    Case, punctuation and signs are ignored ("-5" equals "5"): for code-like answers
    `exact_match` decides.

    Source: Lin 2004; Google's `rouge_score`.
    """
    scores = load_rouge_scorer().score(reference, prediction)
    return {name: float(score.fmeasure) for name, score in scores.items()}


def score_answer(prediction: str, reference: str, metrics: Iterable[str]) -> dict[str, float]:
    """Return one answer's scores for those of `metrics` that are about answers, by name."""
    wanted = set(metrics)
    scores: dict[str, float] = {}
    if "exact_match" in wanted:
        scores["exact_match"] = score_exact_match(prediction, reference)
    if "jaccard" in wanted:
        scores["jaccard"] = score_jaccard(prediction, reference)
    if wanted & {"rouge1", "rouge2", "rougeL"}:
        rouge = score_rouge(prediction, reference)
        scores |= {name: value for name, value in rouge.items() if name in wanted}
    if "bleu" in wanted:
        scores["bleu"] = score_sentence_bleu(prediction, reference)
    return scores


def combine_ratio(sums: Array) -> Array:
    """Return the first sum over the second: a mean, or nats a token."""
    ratio: Array = sums[..., 0] / sums[..., 1]
    return ratio


def combine_perplexity(sums: Array) -> Array:
    """Return exp of the token-weighted NLL: exp(Σ nll / Σ tokens)."""
    perplexity: Array = np.exp(combine_ratio(sums))
    return perplexity


def combine_byte_perplexity(sums: Array) -> Array:
    """Return 2 to the power of bits per byte."""
    perplexity: Array = np.exp2(combine_ratio(sums))
    return perplexity


def build_mean_metric(name: str) -> Metric:
    """Return the metric that is the mean over rows of `scores[name]`."""
    return Metric(name, True, lambda row: (row.scores[name], 1.0), combine_ratio)


def sum_nats(row: Prediction) -> tuple[float, ...]:
    """Return a row's NLL in nats and its tokens."""
    return row.nll_sum, float(row.num_tokens)


def sum_bits(row: Prediction) -> tuple[float, ...]:
    """Return a row's NLL in bits and the UTF-8 bytes that it is over."""
    return row.nll_sum / math.log(2), float(row.num_bytes)


MEAN_METRICS = ("exact_match", "jaccard", "rouge1", "rouge2", "rougeL")
NLL_METRICS = ("nll", "perplexity")
METRICS: dict[str, Metric] = {name: build_mean_metric(name) for name in MEAN_METRICS} | {
    "bleu": Metric(
        "bleu", True, lambda row: count_bleu_sums(row.prediction, row.reference), combine_bleu
    ),
    "nll": Metric("nll", False, sum_nats, combine_ratio),
    "perplexity": Metric("perplexity", False, sum_nats, combine_perplexity),
}
"""By the names of the contract. `nll` is Σ nats / Σ trained tokens, not a mean of row means."""

PER_BYTE_METRICS: dict[str, Metric] = {
    "nll": Metric("nll", False, sum_bits, combine_ratio),
    "perplexity": Metric("perplexity", False, sum_bits, combine_byte_perplexity),
}
"""The same in bits per byte of text: comparable between models with different tokenizers."""


def find_metric(name: str, *, same_tokenizer: bool = True) -> Metric:
    """Return the metric called `name`; between tokenizers NLL is counted in bits per byte."""
    return METRICS[name] if same_tokenizer else PER_BYTE_METRICS.get(name, METRICS[name])


def has_metric(predictions: Sequence[Prediction], name: str) -> bool:
    """Say whether every row carries what the metric is computed from."""
    if name in NLL_METRICS:
        return all(row.num_tokens > 0 for row in predictions)
    return all(name in row.scores for row in predictions)


def compute_metrics(predictions: Sequence[Prediction], metrics: Iterable[str]) -> dict[str, float]:
    """Return the corpus value of each metric that the rows carry, by name, in the order given."""
    return {
        name: METRICS[name].compute(predictions)
        for name in metrics
        if predictions and has_metric(predictions, name)
    }
