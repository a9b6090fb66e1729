"""Answers by an OpenAI-compatible server that serves the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError, RunError
from tasks.evaluation.engines.answering import Answering, Request
from tasks.evaluation.engines.client import explain_errors, open_client
from tasks.evaluation.generation import Answer
from tasks.formatting.rows.examples import Message, ToolCall

if TYPE_CHECKING:
    from openai import OpenAI

WHERE = "evaluation.endpoint_url"
ENDED = ("stop", "tool_calls")
SAME_PROMPT = 0.8  # a server that read less of a prompt has cut it; templates differ by less


def answer_at_endpoint(given: Answering, requests: Sequence[Request]) -> list[Answer]:
    """Answer each request by a call, `per_device_eval_batch_size` of them at a time.

    Raises:
        RequestError: The server refuses a request, or has cut a prompt.
        RunError: It failed, or sent something else than an answer.
    """
    url, model = given.evaluation.endpoint_url, given.evaluation.endpoint_model
    assert url, "checked with the config"
    assert model, "checked with the config"

    def answer(request: Request) -> Answer:
        with explain_errors(url, where=WHERE, asked=request.name):
            return _answer_one(client, model, given.evaluation.max_new_tokens, request)

    answers: list[Answer] = []
    with (
        open_client(url, where=WHERE) as client,
        ThreadPoolExecutor(given.evaluation.per_device_eval_batch_size) as pool,
    ):
        futures = [pool.submit(answer, request) for request in requests]
        try:
            for future in futures:
                answers.append(future.result())
                given.observer.report_progress(len(answers), len(requests), "answers")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return answers


def _answer_one(client: OpenAI, model: str, max_new_tokens: int, request: Request) -> Answer:
    tools: Any = {"tools": json.loads(request.tools)} if request.tools else {}
    messages: Any = [build_turn(message) for message in request.messages]
    reply: Any = client.chat.completions.create(
        model=model, messages=messages, max_tokens=max_new_tokens, temperature=0, seed=0, **tools
    )
    if not reply.choices:
        raise RunError(where=WHERE, message=f"no answer to {request.name}")
    check_prompt(request, reply.usage)
    choice = reply.choices[0]
    num_tokens = reply.usage.completion_tokens if reply.usage else 0
    return Answer(
        (), read_reply(choice.message), choice.finish_reason in ENDED, counted_tokens=num_tokens
    )


def check_prompt(request: Request, usage: Any) -> None:
    """Refuse an answer to less than the whole prompt: some servers cut what is too long.

    Raises:
        RequestError: The server read far fewer tokens than the prompt has.
    """
    if usage is not None and usage.prompt_tokens < SAME_PROMPT * len(request.prompt_ids):
        raise RequestError(
            where=WHERE,
            message=f"the server read {usage.prompt_tokens} tokens of {request.name}, which has "
            f"{len(request.prompt_ids)}",
            hint="give the server a longer context; MODEL must be the model that it serves",
        )


def build_turn(message: Message) -> dict[str, Any]:
    """Return a turn as the API takes it."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": call.id or f"call_{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(message.tool_calls)
        ]
    if message.role == "tool":
        turn["tool_call_id"] = message.tool_call_id
    return turn


def read_reply(message: Any) -> str:
    """Return what a reply says, tool calls as lines of JSON."""
    calls = tuple(
        ToolCall(call.function.name, call.function.arguments) for call in message.tool_calls or ()
    )
    return Message("assistant", message.content or "", calls).readable
