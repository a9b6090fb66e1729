"""Metrics by name: corpus values as a function of sums over rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tasks.evaluation.bleu import combine_bleu, count_bleu_sums
from tasks.evaluation.chrf import combine_chrf, count_chrf_sums
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
    lowest: float = 0.0
    """The least value that it can have."""
    highest: float = 1.0
    """The greatest value that it can have."""
    has_direction: bool = True
    """Whether more or less of it is better at all; if not, it decides nothing."""

    @property
    def mark(self) -> str:
        """The arrow behind its name in tables."""
        return ("↑" if self.higher_is_better else "↓") if self.has_direction else ""

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


def build_custom_metric(name: str) -> Metric:
    """Return a metric of the user's own, whose scores may be any numbers."""
    mean = build_mean_metric(name)
    return replace(mean, lowest=-math.inf, highest=math.inf)


def sum_nats(row: Prediction) -> tuple[float, ...]:
    """Return a row's NLL in nats and its tokens."""
    return row.nll_sum, float(row.num_tokens)


def sum_bits(row: Prediction) -> tuple[float, ...]:
    """Return a row's NLL in bits and the UTF-8 bytes that it is over."""
    return row.nll_sum / math.log(2), float(row.num_bytes)


def count_characters(row: Prediction) -> tuple[float, ...]:
    """Return the characters of a row's answer and of its reference, whitespace around not."""
    return float(len(row.prediction.strip())), float(len(row.reference.strip()))


def combine_length_ratio(sums: Array) -> Array:
    """Return Σ characters of the answers / Σ characters of the references."""
    ratio: Array = sums[..., 0] / np.maximum(1.0, sums[..., 1])
    return ratio


MEAN_METRICS = (
    "exact_match", "exact_match_normalised", "token_f1", "jaccard", "rouge1", "rouge2", "rougeL",
    "stop_rate", "format_valid",
)  # fmt: skip
"""Means over rows of scores in [0, 1], as of all shares."""
NLL_METRICS = ("nll", "perplexity")
METRICS: dict[str, Metric] = {name: build_mean_metric(name) for name in MEAN_METRICS} | {
    "bleu": Metric(
        "bleu", True, lambda row: count_bleu_sums(row.prediction, row.reference), combine_bleu
    ),
    "chrf": Metric(
        "chrf", True, lambda row: count_chrf_sums(row.prediction, row.reference), combine_chrf
    ),
    "length_ratio": Metric(
        "length_ratio", True, count_characters, combine_length_ratio, highest=math.inf,
        has_direction=False,
    ),
    "toxicity": replace(build_mean_metric("toxicity"), higher_is_better=False),
    "nll": Metric("nll", False, sum_nats, combine_ratio, highest=math.inf),
    "perplexity": Metric("perplexity", False, sum_nats, combine_perplexity, highest=math.inf),
}  # fmt: skip
"""The built-in metrics by name, each registered here once.

`nll` is Σ nats / Σ trained tokens, not a mean of row means; `stop_rate` is the share of answers
that ended by themselves, `format_valid` that of answers with the asked-for form, `toxicity` the
mean probability of a classifier's toxic label. A metric that is not here is one of the user's own
or of an lm-eval task: the mean of its scores.
"""

PER_BYTE_METRICS: dict[str, Metric] = {
    "nll": Metric("nll", False, sum_bits, combine_ratio, highest=math.inf),
    "perplexity": Metric("perplexity", False, sum_bits, combine_byte_perplexity, highest=math.inf),
}
"""The same in bits per byte of text: comparable between models with different tokenizers."""


def find_metric(name: str, *, same_tokenizer: bool = True) -> Metric:
    """Return the metric called `name`; between tokenizers NLL is counted in bits per byte.

    A name that is not built in is a user's own: the mean of its scores, more being better.
    """
    if not same_tokenizer and name in PER_BYTE_METRICS:
        return PER_BYTE_METRICS[name]
    return METRICS.get(name) or build_custom_metric(name)


def has_metric(predictions: Sequence[Prediction], name: str) -> bool:
    """Say whether every row carries what the metric is computed from."""
    if name in NLL_METRICS:
        return all(row.num_tokens > 0 for row in predictions)
    return all(name in row.scores for row in predictions)


def compute_metrics(predictions: Sequence[Prediction], metrics: Iterable[str]) -> dict[str, float]:
    """Return the corpus value of each metric that the rows carry, by name, in the order given."""
    return {
        name: find_metric(name).compute(predictions)
        for name in metrics
        if predictions and has_metric(predictions, name)
    }
