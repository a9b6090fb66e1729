from typing import Any

import pytest

from configs.errors import RequestError, RunError
from configs.schema import EvaluationConfig
from tasks.evaluation.engines.answering import (
    Answering,
    answer_requests,
    answer_static,
    build_request,
)
from tasks.evaluation.engines.continuous import _check_outputs, answer_in_pages
from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.examples import Example
from tasks.records.observer import SilentObserver


def give(model: Any, renderer: Renderer) -> Answering:
    evaluation = EvaluationConfig(engine="continuous", max_new_tokens=4)
    return Answering(model, None, renderer, evaluation, SilentObserver())


def test_it_is_refused_without_a_gpu(
    tiny_base: Any, renderer: Renderer, examples: list[Example]
) -> None:
    requests = [build_request(renderer, example) for example in examples[:1]]
    with pytest.raises(RequestError, match=r"continuous: there is no CUDA device.*static"):
        answer_requests(give(tiny_base, renderer), requests)


def test_its_answers_are_those_of_padded_batches(
    tiny_base: Any, renderer: Renderer, examples: list[Example]
) -> None:
    given = give(tiny_base, renderer)
    requests = [build_request(renderer, example) for example in examples[:3]]
    assert answer_in_pages(given, requests) == answer_static(given, requests)


def test_lost_and_failed_requests_are_an_error() -> None:
    class Output:
        error: str | None = None

    class Failed(Output):
        error = "out of pages"

    requests: Any = [None, None]
    _check_outputs([Output(), Output()], requests)
    with pytest.raises(RunError, match="1 answers to 2 requests"):
        _check_outputs([Output()], requests)
    with pytest.raises(RunError, match="1 answers to 2 requests: out of pages"):
        _check_outputs([Output(), Failed()], requests)
