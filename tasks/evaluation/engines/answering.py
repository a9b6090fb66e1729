"""The one interface of all engines: requests in, as many answers out, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.schema import EvaluationConfig
from tasks.evaluation.generation import Answer, generate_answers
from tasks.records.observer import Observer

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer
    from tasks.formatting.rows.examples import Example, Message


@dataclass(frozen=True)
class ModelFiles:
    """Where a model lies, for engines that load it themselves."""

    base: Path
    adapter: Path | None
    dtype: str


@dataclass(frozen=True)
class Request:
    """What is to be answered, as tokens and as messages."""

    prompt_ids: Sequence[int]
    messages: Sequence[Message]
    tools: str
    """The tools that may be called, as a JSON list; empty for none."""
    name: str
    """Where it came from, for errors."""


@dataclass(frozen=True)
class Answering:
    """What an engine is given to answer with."""

    model: Any
    """The loaded model; None for engines that have their own."""
    files: ModelFiles | None
    renderer: Renderer
    evaluation: EvaluationConfig
    observer: Observer


Engine = Callable[[Answering, Sequence[Request]], list[Answer]]


def build_request(renderer: Renderer, example: Example) -> Request:
    """Return an example's prompt as a request."""
    return Request(renderer.render_prompt(example), example.prompt, example.tools, example.origin)


def answer_static(given: Answering, requests: Sequence[Request]) -> list[Answer]:
    """Answer in padded batches, with transformers."""
    return generate_answers(
        given.model,
        given.renderer,
        [request.prompt_ids for request in requests],
        max_new_tokens=given.evaluation.max_new_tokens,
        batch_size=given.evaluation.per_device_eval_batch_size,
        observer=given.observer,
        names=[request.name for request in requests],
    )


def find_engine(name: str) -> Engine:
    """Return the engine of a name; its libraries are imported only here."""
    if name == "continuous":
        from tasks.evaluation.engines.continuous import answer_continuously

        return answer_continuously
    if name == "vllm":
        from tasks.evaluation.engines.vllm_engine import answer_with_vllm

        return answer_with_vllm
    if name == "openai":
        from tasks.evaluation.engines.endpoint import answer_at_endpoint

        return answer_at_endpoint
    return answer_static


def answer_requests(given: Answering, requests: Sequence[Request]) -> list[Answer]:
    """Answer every request with the engine of `evaluation.engine`.

    Raises:
        RequestError: A request does not fit, or the engine cannot work here.
        RunError: The engine or its server failed.
    """
    answers = find_engine(given.evaluation.engine)(given, requests)
    assert len(answers) == len(requests), f"{len(answers)} answers to {len(requests)} requests"
    return answers
