"""Evaluation of one model on the evaluation splits: predictions, scores, timings in files."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.schema import EvaluationConfig
from tasks.evaluation.engines.answering import Answering, ModelFiles
from tasks.evaluation.harm_suite import run_suite
from tasks.evaluation.metrics import compute_metrics
from tasks.evaluation.predict import Timing, predict_examples
from tasks.evaluation.predictions import write_predictions
from tasks.records.handles import Kind
from tasks.records.observer import Observer
from tasks.records.writing import write_json

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer
    from tasks.formatting.rows.examples import Example

LOG = logging.getLogger("hone")


def select_samples(examples: Sequence[Example], num_samples: int | None) -> list[Example]:
    """Return the `num_samples` examples whose hashed id is smallest, in their order; None: all."""
    if num_samples is None or num_samples >= len(examples):
        return list(examples)
    ranked = sorted(examples, key=lambda e: hashlib.sha256(e.id.encode()).hexdigest())
    chosen = {example.id for example in ranked[:num_samples]}
    return [example for example in examples if example.id in chosen]


def evaluate_model(
    model: Any,
    renderer: Renderer,
    splits: Mapping[str, Sequence[Example]],
    out: Path,
    *,
    evaluation: EvaluationConfig,
    kind: Kind,
    observer: Observer,
    files: ModelFiles | None = None,
    classifier: Path | None = None,
) -> dict[str, dict[str, float]]:
    """Answer and score every split with one model, and write what came out.

    The splits are answered together, so that batches are full and of one length. Writes
    `predictions/<split>.jsonl` and `metrics.json`, which depend on the model and the data alone,
    and `timing.json`, which does not and belongs in no digest.

    Args:
        model: A causal LM in eval mode, with or without an adapter; None where a server has it.
        renderer: The renderer that the training data were made with.
        splits: Examples by split.
        out: The folder to write to.
        evaluation: Metrics, lengths, batch size.
        kind: `text` rows are scored by NLL only.
        observer: Told about the progress.
        files: Where the model lies, for engines that load it themselves.
        classifier: What rates the toxicity of answers, if anything.

    Returns:
        By split, those of lm-eval's tasks too, then metric; `tokens_per_second`, the same for all
        splits, is measured here and is not in `metrics.json`.

    Raises:
        RequestError: An example does not fit the model's context.
    """
    chosen = {
        name: select_samples(examples, evaluation.num_samples)
        for name, examples in sorted(splits.items())
    }
    everything = [example for examples in chosen.values() for example in examples]
    given = Answering(model, files, renderer, evaluation, observer)
    predictions, timing = predict_examples(given, everything, kind, classifier)
    rest = iter(predictions)
    by_split = {name: [next(rest) for _ in examples] for name, examples in chosen.items()}
    if evaluation.lm_eval_tasks:
        by_split |= run_suite(model, renderer.tokenizer, evaluation)
    for name, rows in by_split.items():
        write_predictions(out / "predictions" / f"{name}.jsonl", rows)
    metrics = {
        name: compute_metrics(rows, evaluation.metric_names) for name, rows in by_split.items()
    }
    write_json(out / "metrics.json", metrics)
    write_timing(out / "timing.json", timing)
    LOG.info(
        "evaluated %d examples: nll %.1f s, generation %.1f s, %.0f tokens/s",
        len(predictions), timing.nll_seconds, timing.generation_seconds, timing.tokens_per_second,
    )  # fmt: skip
    if kind == "text":
        return metrics
    speed = {"tokens_per_second": timing.tokens_per_second}
    return {name: values | (speed if name in chosen else {}) for name, values in metrics.items()}


def write_timing(path: Path, timing: Timing) -> None:
    """Write how long the evaluation took."""
    write_json(
        path,
        {
            "nll_seconds": timing.nll_seconds,
            "generation_seconds": timing.generation_seconds,
            "num_new_tokens": timing.num_new_tokens,
            "tokens_per_second": timing.tokens_per_second,
        },
    )
