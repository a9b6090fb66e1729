"""The scores of one answer, by the names of the metrics that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from configs.schema import EvaluationConfig
from tasks.evaluation.answer_format import build_format_check
from tasks.evaluation.bleu import score_sentence_bleu
from tasks.evaluation.chrf import score_sentence_chrf
from tasks.evaluation.custom_metrics import CustomMetric, call_custom_metric, load_custom_metrics
from tasks.evaluation.text_scores import (
    score_exact_match,
    score_jaccard,
    score_normalised_match,
    score_rouge,
    score_token_f1,
)

TEXT_SCORES: dict[str, Callable[[str, str], float]] = {
    "exact_match": score_exact_match,
    "exact_match_normalised": score_normalised_match,
    "token_f1": score_token_f1,
    "jaccard": score_jaccard,
    "bleu": score_sentence_bleu,
    "chrf": score_sentence_chrf,
}
ROUGE = ("rouge1", "rouge2", "rougeL")


def score_length_ratio(prediction: str, reference: str) -> float:
    """Return the characters of the answer over those of the reference, or over 1 if it is empty.

    Whitespace around both does not count. The metric is Σ answer / Σ reference over the rows.
    """
    return len(prediction.strip()) / max(1, len(reference.strip()))


@dataclass(frozen=True)
class Answered:
    """One answer and what it answers."""

    prediction: str
    reference: str
    prompt: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    ended: bool = True
    """Whether it ended by itself."""
    origin: str = ""
    """Where the row came from, for errors."""


@dataclass(frozen=True)
class Scorer:
    """What scores answers; made once by `build_scorer`."""

    metrics: tuple[str, ...]
    has_format: Callable[[str], float] | None = None
    custom: Mapping[str, CustomMetric] = field(default_factory=dict)

    def score(self, answered: Answered) -> dict[str, float]:
        """Return one answer's scores, by metric; those about likelihood are not among them."""
        texts = answered.prediction, answered.reference
        scores = {name: TEXT_SCORES[name](*texts) for name in self.metrics if name in TEXT_SCORES}
        if set(ROUGE).intersection(self.metrics):
            rouge = score_rouge(*texts)
            scores |= {name: rouge[name] for name in ROUGE if name in self.metrics}
        if "length_ratio" in self.metrics:
            scores["length_ratio"] = score_length_ratio(*texts)
        if "stop_rate" in self.metrics:
            scores["stop_rate"] = float(answered.ended)
        if self.has_format:
            scores["format_valid"] = self.has_format(answered.prediction)
        return scores | {
            name: call_custom_metric(
                name, function, origin=answered.origin, prediction=answered.prediction,
                reference=answered.reference, prompt=answered.prompt, fields=dict(answered.fields),
            )
            for name, function in self.custom.items()
        }  # fmt: skip


def build_scorer(evaluation: EvaluationConfig) -> Scorer:
    """Return what scores answers as the config says.

    Raises:
        RequestError: A metric of the user's own cannot be loaded.
    """
    return Scorer(
        evaluation.metrics,
        build_format_check(evaluation.answer_pattern, evaluation.answer_schema),
        load_custom_metrics(evaluation.custom_metrics),
    )
