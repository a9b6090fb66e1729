"""vLLM needs a GPU: here a stand-in of its interface answers with the tiny model."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from configs.errors import RequestError
from configs.schema import EvaluationConfig
from tasks.evaluation.engines import vllm_engine
from tasks.evaluation.engines.answering import (
    Answering,
    ModelFiles,
    answer_requests,
    answer_static,
    build_request,
)
from tasks.evaluation.generation import build_generation_config, cut_answer, pad_left
from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.examples import Example
from tasks.records.observer import SilentObserver
from tests.tasks.evaluation.conftest import TINY_BASE


def give(model: Any, renderer: Renderer, adapter: Path | None = None) -> Answering:
    evaluation = EvaluationConfig(engine="vllm", max_new_tokens=12)
    files = ModelFiles(TINY_BASE, adapter, "float32")
    return Answering(model, files, renderer, evaluation, SilentObserver())


def test_it_is_refused_where_it_is_not_installed(
    tiny_base: Any, renderer: Renderer, examples: list[Example]
) -> None:
    with pytest.raises(RequestError, match=r"vllm needs vllm.*EXTRAS=vllm"):
        answer_requests(give(tiny_base, renderer), [build_request(renderer, examples[0])])


def build_stand_in(model: Any, renderer: Renderer, seen: dict[str, Any]) -> ModuleType:
    class LLM:
        def __init__(self, **settings: Any) -> None:
            seen["settings"] = settings
            config = SimpleNamespace(max_model_len=256)
            self.llm_engine = SimpleNamespace(model_config=config)

        def generate(self, prompts: list[Any], sampling: Any, lora_request: Any) -> list[Any]:
            seen["lora"] = lora_request
            outputs = []
            for prompt in prompts:
                ends, ids = sampling.stop_token_ids, prompt["prompt_token_ids"]
                config = build_generation_config(renderer, ends, sampling.max_tokens)
                inputs = pad_left([ids], renderer.pad_token_id, "cpu")
                new = model.generate(**inputs, generation_config=config)[0, len(ids) :].tolist()
                answer = cut_answer(renderer, ends, new)
                # As vLLM does where it is told so: without the token that stopped it.
                kept = answer.token_ids[:-1] if answer.ended else answer.token_ids
                reason = "stop" if answer.ended else "length"
                one = SimpleNamespace(token_ids=kept, finish_reason=reason)
                outputs.append(SimpleNamespace(outputs=[one]))
            return outputs

    module = ModuleType("vllm")
    module.LLM = LLM  # type: ignore[attr-defined]
    module.SamplingParams = SimpleNamespace  # type: ignore[attr-defined]
    return module


def test_answers_are_read_as_vllm_gives_them(
    tiny_base: Any, renderer: Renderer, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "vllm", build_stand_in(tiny_base, renderer, seen))
    monkeypatch.setattr(vllm_engine, "require_package", Mock())
    given = give(tiny_base, renderer)
    requests = [build_request(renderer, example) for example in examples[:6]]
    answers = answer_requests(given, requests)
    assert answers == answer_static(given, requests)
    assert {answer.ended for answer in answers} == {True, False}
    assert seen["settings"]["generation_config"] == "vllm"
    assert seen["settings"]["trust_remote_code"] is False
    assert seen["lora"] is None
    long = build_request(renderer, examples[0])
    with pytest.raises(RequestError, match="do not fit"):
        answer_requests(given, [long.__class__([5] * 250, long.messages, "", "long:1")])
