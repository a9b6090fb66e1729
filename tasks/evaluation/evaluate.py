"""Evaluation of one model on the evaluation splits: predictions, scores, timings in files."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.schema import EvaluationConfig
from tasks.evaluation.generation import (
    Answer,
    check_context,
    find_context_length,
    generate_answers,
)
from tasks.evaluation.metrics import compute_metrics
from tasks.evaluation.nll import NllScore, score_nll
from tasks.evaluation.predictions import Prediction, write_predictions
from tasks.evaluation.scoring import Answered, Scorer, build_scorer
from tasks.formatting.rows.examples import digest_prompt
from tasks.records.handles import Kind
from tasks.records.observer import Observer
from tasks.records.writing import write_json

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer
    from tasks.formatting.rows.examples import Example, Message

LOG = logging.getLogger("hone")
NO_ANSWER = Answer((), "", False)


@dataclass(frozen=True)
class Timing:
    """How long the parts of an evaluation took; never part of a digest."""

    nll_seconds: float
    generation_seconds: float
    num_new_tokens: int

    @property
    def tokens_per_second(self) -> float:
        """New tokens of all answers per second of generation."""
        return self.num_new_tokens / self.generation_seconds if self.generation_seconds else 0.0


def select_samples(examples: Sequence[Example], num_samples: int | None) -> list[Example]:
    """Return the `num_samples` examples whose hashed id is smallest, in their order; None: all."""
    if num_samples is None or num_samples >= len(examples):
        return list(examples)
    ranked = sorted(examples, key=lambda e: hashlib.sha256(e.id.encode()).hexdigest())
    chosen = {example.id for example in ranked[:num_samples]}
    return [example for example in examples if example.id in chosen]


def describe_prompt(messages: Sequence[Message]) -> str:
    """Return the turns as a person reads them: a lone user turn as it is, else `role: content`."""
    if [message.role for message in messages] == ["user"]:
        return messages[0].content
    return "\n".join(f"{message.role}: {message.readable}" for message in messages)


def join_scored_text(example: Example) -> str:
    """Return the text whose tokens are scored: all trained assistant turns, or the `text` row."""
    if not example.messages:
        return example.text
    turns = (turn for turn in example.messages if turn.role == "assistant" and turn.is_trained)
    return "".join(turn.readable for turn in turns)


def build_prediction(
    example: Example, reference: str, answer: Answer, nll: NllScore, scorer: Scorer
) -> Prediction:
    """Put together what is known about one example; `reference` is its answer as rendered."""
    is_text, prompt = not example.messages, describe_prompt(example.prompt)
    answered = Answered(
        answer.text, reference, prompt, example.fields, answer.ended, example.origin
    )
    return Prediction(
        id=example.id,
        group=example.group,
        origin=example.origin,
        fields=example.fields,
        prompt=prompt,
        prompt_digest=digest_prompt(example.messages, example.text),
        reference=example.text if is_text else reference,
        prediction=answer.text,
        ended=answer.ended,
        num_new_tokens=len(answer.token_ids),
        nll_sum=nll.nll_sum,
        num_tokens=nll.num_tokens,
        num_bytes=len(join_scored_text(example).encode("utf-8", "surrogatepass")),
        scores={} if is_text else scorer.score(answered),
    )


def score_examples(
    model: Any, renderer: Renderer, examples: Sequence[Example], kind: Kind, observer: Observer
) -> list[NllScore]:
    """Return each example's NLL on the tokens that training on assistant turns would train.

    Raises:
        RequestError: An example does not fit the model's context.
    """
    rows = [
        renderer.render_example(example, assistant_only_loss=kind == "messages")
        for example in examples
    ]
    lengths, names = [len(row.input_ids) for row in rows], [e.origin for e in examples]
    check_context(lengths, names, find_context_length(model), "data.source")
    return score_nll(model, rows, observer=observer)


def answer_examples(
    model: Any,
    renderer: Renderer,
    examples: Sequence[Example],
    kind: Kind,
    evaluation: EvaluationConfig,
    observer: Observer,
) -> list[Answer]:
    """Return each example's answer; `text` rows have none, they are only scored."""
    if kind == "text":
        return [NO_ANSWER] * len(examples)
    return generate_answers(
        model,
        renderer,
        [renderer.render_prompt(example) for example in examples],
        max_new_tokens=evaluation.max_new_tokens,
        batch_size=evaluation.per_device_eval_batch_size,
        observer=observer,
        names=[example.origin for example in examples],
    )


def predict_examples(
    model: Any,
    renderer: Renderer,
    examples: Sequence[Example],
    *,
    evaluation: EvaluationConfig,
    kind: Kind,
    observer: Observer,
) -> tuple[list[Prediction], Timing]:
    """Answer and score examples with one model; writes nothing."""
    scorer = build_scorer(evaluation)
    start = time.perf_counter()
    nll = score_examples(model, renderer, examples, kind, observer)
    middle = time.perf_counter()
    answers = answer_examples(model, renderer, examples, kind, evaluation, observer)
    end = time.perf_counter()
    predictions = [
        build_prediction(example, renderer.render_reference(example), answer, score, scorer)
        for example, answer, score in zip(examples, answers, nll, strict=True)
    ]
    num_new_tokens = sum(prediction.num_new_tokens for prediction in predictions)
    return predictions, Timing(middle - start, end - middle, num_new_tokens)


def evaluate_model(
    model: Any,
    renderer: Renderer,
    splits: Mapping[str, Sequence[Example]],
    out: Path,
    *,
    evaluation: EvaluationConfig,
    kind: Kind,
    observer: Observer,
) -> dict[str, dict[str, float]]:
    """Answer and score every split with one model, and write what came out.

    The splits are answered together, so that batches are full and of one length. Writes
    `predictions/<split>.jsonl` and `metrics.json`, which depend on the model and the data alone,
    and `timing.json`, which does not and belongs in no digest.

    Args:
        model: A causal LM in eval mode, with or without an adapter.
        renderer: The renderer that the training data were made with.
        splits: Examples by split.
        out: The folder to write to.
        evaluation: Metrics, lengths, batch size.
        kind: `text` rows are scored by NLL only.
        observer: Told about the progress.

    Returns:
        By split, then metric; `tokens_per_second`, the same for all splits, is measured here and
        is not in `metrics.json`.

    Raises:
        RequestError: An example does not fit the model's context.
    """
    chosen = {
        name: select_samples(examples, evaluation.num_samples)
        for name, examples in sorted(splits.items())
    }
    everything = [example for examples in chosen.values() for example in examples]
    predictions, timing = predict_examples(
        model, renderer, everything, evaluation=evaluation, kind=kind, observer=observer
    )
    rest = iter(predictions)
    by_split = {name: [next(rest) for _ in examples] for name, examples in chosen.items()}
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
    return {name: values | speed for name, values in metrics.items()}


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
