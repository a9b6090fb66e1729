"""Answers by vLLM, which loads the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.evaluation.engines.answering import Answering, ModelFiles, Request
from tasks.evaluation.generation import Answer, check_context, cut_answer
from tasks.records.extras import require_package
from tasks.records.writing import read_json

KEY = "evaluation.engine"


def answer_with_vllm(given: Answering, requests: Sequence[Request]) -> list[Answer]:
    """Answer all requests at once, greedily.

    Raises:
        RequestError: vLLM is not installed, or a prompt does not fit the model's context.
    """
    require_package("vllm", where=KEY, needed_for="vllm")
    assert given.files, "vLLM loads the model itself"
    from vllm import SamplingParams

    engine = load_engine(given.files)
    num_tokens, ends = given.evaluation.max_new_tokens, given.renderer.end_token_ids
    limit = int(engine.llm_engine.model_config.max_model_len)
    lengths = [len(request.prompt_ids) + num_tokens for request in requests]
    names = [request.name for request in requests]
    check_context(lengths, names, limit, "evaluation.max_new_tokens")
    sampling = SamplingParams(
        temperature=0.0, max_tokens=num_tokens, stop_token_ids=list(ends), seed=0
    )
    outputs = engine.generate(
        [{"prompt_token_ids": list(request.prompt_ids)} for request in requests],
        sampling,
        lora_request=name_adapter(given.files),
    )
    given.observer.report_progress(len(outputs), len(requests), "answers")
    return [read_output(given, output.outputs[0]) for output in outputs]


def load_engine(files: ModelFiles) -> Any:
    """Return vLLM with the base model, ready for an adapter where there is one.

    The model's own generation config is not read, so that nothing but our own settings counts.
    """
    from vllm import LLM

    rank = read_json(files.adapter / "adapter_config.json")["r"] if files.adapter else None
    lora = {"enable_lora": True, "max_lora_rank": max(8, rank)} if rank else {}
    return LLM(
        model=str(files.base), dtype=files.dtype, generation_config="vllm",
        trust_remote_code=False, **lora,
    )  # fmt: skip


def name_adapter(files: ModelFiles) -> Any:
    """Return the adapter as vLLM names it, or None."""
    if files.adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest("evaluated", 1, str(files.adapter))


def read_output(given: Answering, output: Any) -> Answer:
    """Return an answer; the token that stopped it may be missing among those that vLLM gives."""
    ends, ids = given.renderer.end_token_ids, list(output.token_ids)
    if output.finish_reason == "stop" and not set(ids).intersection(ends):
        ids.append(ends[0])
    return cut_answer(given.renderer, ends, ids)
