"""Answers by transformers' continuous batching: new prompts take the place of finished ones."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from configs.errors import RequestError, RunError
from tasks.evaluation.engines.answering import Answering, Request
from tasks.evaluation.generation import (
    Answer,
    build_generation_config,
    check_context,
    cut_answer,
    find_context_length,
    find_end_tokens,
    unwrap_model,
    use_only,
)

KEY = "evaluation.engine"


def check_continuous() -> None:
    """Refuse where continuous batching would be slower than padded batches.

    Raises:
        RequestError: There is no CUDA device, or no flash attention kernel.
    """
    import torch

    if not torch.cuda.is_available():
        missing = "there is no CUDA device, and on a CPU it takes many times as long as static"
    elif find_spec("flash_attn") is None:
        missing = "flash_attn is not installed, and without its kernel static is faster"
    else:
        return
    raise RequestError(where=KEY, message=f"continuous: {missing}", allowed="static, vllm, openai")


def answer_continuously(given: Answering, requests: Sequence[Request]) -> list[Answer]:
    """Answer all requests, as many at a time as the memory holds.

    Raises:
        RequestError: As `check_continuous`, or a prompt does not fit the model's context.
        RunError: A request failed or was lost.
    """
    check_continuous()
    return answer_in_pages(given, requests)


def answer_in_pages(given: Answering, requests: Sequence[Request]) -> list[Answer]:
    """Do what `answer_continuously` does, on any device."""
    num_tokens, target = given.evaluation.max_new_tokens, unwrap_model(given.model)
    lengths = [len(request.prompt_ids) + num_tokens for request in requests]
    names = [request.name for request in requests]
    limit = find_context_length(given.model)
    check_context(lengths, names, limit, "evaluation.max_new_tokens")
    ends = find_end_tokens(given.model, given.renderer)
    config = build_generation_config(given.renderer, ends, num_tokens)
    with use_only(target, config):
        results: dict[str, Any] = target.generate_batch(
            [list(request.prompt_ids) for request in requests], generation_config=config
        )
    outputs = list(results.values())
    _check_outputs(outputs, requests)
    given.observer.report_progress(len(outputs), len(requests), "answers")
    return [cut_answer(given.renderer, ends, output.generated_tokens) for output in outputs]


def _check_outputs(outputs: Sequence[Any], requests: Sequence[Request]) -> None:
    """Refuse results that are fewer than the requests, which `generate_batch` only logs."""
    failed = [output.error for output in outputs if output.error is not None]
    if len(outputs) != len(requests) or failed:
        reason = f": {failed[0]}" if failed else ""
        raise RunError(
            where=KEY,
            message=f"continuous: {len(outputs) - len(failed)} answers to {len(requests)} "
            f"requests{reason}",
            hint="set evaluation.engine=static",
        )
