"""What one model makes of examples: likelihoods, answers and their scores."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.evaluation.engines.answering import Answering, answer_requests, build_request
from tasks.evaluation.generation import Answer, check_context, find_context_length
from tasks.evaluation.nll import NllScore, score_nll
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.scoring import Answered, Scorer, build_scorer
from tasks.evaluation.toxicity import score_toxicity
from tasks.formatting.rows.examples import digest_prompt
from tasks.records.handles import Kind

if TYPE_CHECKING:
    from tasks.formatting.rows.examples import Example, Message

LOG = logging.getLogger("hone")
NO_ANSWER = Answer((), "", False)
NO_NLL = NllScore(0.0, 0)


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
        num_new_tokens=answer.num_new_tokens,
        nll_sum=nll.nll_sum,
        num_tokens=nll.num_tokens,
        num_bytes=len(join_scored_text(example).encode("utf-8", "surrogatepass")),
        scores={} if is_text else scorer.score(answered),
    )


def score_examples(given: Answering, examples: Sequence[Example], kind: Kind) -> list[NllScore]:
    """Return each example's NLL on the tokens that training on assistant turns would train.

    Without a model (a server has it) there is none, and no metric of likelihood.

    Raises:
        RequestError: An example does not fit the model's context.
    """
    if given.model is None:
        LOG.warning("a server tells no likelihoods: nll and perplexity are left out")
        return [NO_NLL] * len(examples)
    rows = [
        given.renderer.render_example(example, assistant_only_loss=kind == "messages")
        for example in examples
    ]
    lengths, names = [len(row.input_ids) for row in rows], [e.origin for e in examples]
    check_context(lengths, names, find_context_length(given.model), "data.source")
    return score_nll(given.model, rows, observer=given.observer)


def answer_examples(given: Answering, examples: Sequence[Example], kind: Kind) -> list[Answer]:
    """Return each example's answer; `text` rows have none, they are only scored."""
    if kind == "text":
        return [NO_ANSWER] * len(examples)
    return answer_requests(given, [build_request(given.renderer, e) for e in examples])


def find_reference(example: Example, given: Answering) -> str:
    """Return the right answer in the form that the engine answers in.

    Models write tool calls as their template says; a server gives them parsed.
    """
    is_parsed = given.evaluation.engine == "openai"
    return example.reference if is_parsed else given.renderer.render_reference(example)


def rate_toxicity(
    predictions: Sequence[Prediction], classifier: Path, given: Answering
) -> list[Prediction]:
    """Return the predictions with the toxicity of their answers among the scores."""
    found = score_toxicity(
        [row.prediction for row in predictions],
        classifier,
        label=given.evaluation.toxicity_label,
        device="cpu" if given.model is None else str(given.model.device),
        observer=given.observer,
    )
    return [
        replace(row, scores=row.scores | {"toxicity": score})
        for row, score in zip(predictions, found, strict=True)
    ]


def predict_examples(
    given: Answering, examples: Sequence[Example], kind: Kind, classifier: Path | None
) -> tuple[list[Prediction], Timing]:
    """Answer and score examples with one model; writes nothing.

    Args:
        given: The model and what it is asked with.
        examples: What is answered.
        kind: `text` rows are scored by NLL only.
        classifier: What rates the toxicity of answers, if anything.
    """
    scorer = build_scorer(given.evaluation)
    start = time.perf_counter()
    nll = score_examples(given, examples, kind)
    middle = time.perf_counter()
    answers = answer_examples(given, examples, kind)
    end = time.perf_counter()
    predictions = [
        build_prediction(example, find_reference(example, given), answer, score, scorer)
        for example, answer, score in zip(examples, answers, nll, strict=True)
    ]
    if classifier and kind != "text":
        predictions = rate_toxicity(predictions, classifier, given)
    num_new_tokens = sum(prediction.num_new_tokens for prediction in predictions)
    return predictions, Timing(middle - start, end - middle, num_new_tokens)
