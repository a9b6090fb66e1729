from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError, RunError
from configs.schema import EvaluationConfig
from tasks.evaluation.engines import client
from tasks.evaluation.engines.answering import Answering, answer_requests, build_request
from tasks.evaluation.engines.endpoint import build_turn, read_reply
from tasks.evaluation.evaluate import evaluate_model
from tasks.evaluation.predictions import read_splits
from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.examples import Example, Message, ToolCall
from tasks.records.observer import SilentObserver
from tests.tasks.evaluation.engines.conftest import ModelServer


def configure(server: ModelServer, engine: str = "openai", model: str = "tiny") -> EvaluationConfig:
    return EvaluationConfig(
        engine=engine, endpoint_url=server.url, endpoint_model=model,  # type: ignore[arg-type]
        max_new_tokens=12, per_device_eval_batch_size=4,
    )  # fmt: skip


def answer(server: ModelServer, examples: list[Example], **changes: Any) -> Any:
    evaluation = configure(server, **changes)
    given = Answering(None, None, server.renderer, evaluation, SilentObserver())
    return answer_requests(given, [build_request(server.renderer, e) for e in examples])


def test_a_server_gives_the_answers_of_the_model_that_it_serves(
    model_server: ModelServer, renderer: Renderer, examples: list[Example], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"kind": "messages", "observer": SilentObserver()}
    for name, engine in (("served", "openai"), ("local", "static")):
        model = None if engine == "openai" else model_server.model
        evaluation = configure(model_server, engine)
        evaluate_model(
            model, renderer, {"dev": examples[:6]}, tmp_path / name, evaluation=evaluation,
            **settings,
        )  # fmt: skip
    served, local = (read_splits(tmp_path / name)["dev"] for name in ("served", "local"))
    assert len(model_server.requests) == 6
    for found, expected in zip(served, local, strict=True):
        assert (found.id, found.prediction) == (expected.id, expected.prediction)
        assert (found.ended, found.num_new_tokens) == (expected.ended, expected.num_new_tokens)
        assert found.scores == expected.scores
        assert found.num_tokens == 0
    asked = model_server.requests[0]
    assert (asked["temperature"], asked["max_tokens"], asked["model"]) == (0, 12, "tiny")


def test_the_key_comes_from_the_environment(
    model_server: ModelServer, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    model_server.key = "right"
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-one")
    with pytest.raises(RequestError, match="refuses the key") as caught:
        answer(model_server, examples[:1])
    assert "wrong-one" not in str(caught.value)
    assert "OPENAI_API_KEY" in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    assert len(answer(model_server, examples[:3])) == 3


def test_a_prompt_that_the_server_cut_is_an_error(
    model_server: ModelServer, examples: list[Example]
) -> None:
    model_server.context = 5
    with pytest.raises(RequestError, match=r"the server read 5 tokens of test\.jsonl:\d+, which"):
        answer(model_server, examples[:4])


@pytest.mark.parametrize(
    ("fault", "error"), [(400, RequestError), (422, RequestError), (500, RunError), (429, RunError)]
)
def test_a_servers_refusals_and_faults_are_one_clear_error(
    model_server: ModelServer,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
    fault: int,
    error: type[Exception],
) -> None:
    monkeypatch.setattr(client, "MAX_RETRIES", 0)
    model_server.fault = fault
    with pytest.raises(error, match="a fault that was asked for"):
        answer(model_server, examples[:2])


def test_an_unknown_model_and_a_missing_server_are_named(
    model_server: ModelServer, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_RETRIES", 0)
    with pytest.raises(RequestError, match="no model other"):
        answer(model_server, examples[:1], model="other")
    model_server.url = "http://127.0.0.1:9/v1"
    with pytest.raises(RunError, match=r"127\.0\.0\.1:9/v1 failed"):
        answer(model_server, examples[:1])


def test_tools_travel_in_the_apis_form() -> None:
    call = ToolCall("find", '{"x": 1}')
    turn = build_turn(Message("assistant", "", (call,)))
    assert turn["tool_calls"][0]["function"] == {"name": "find", "arguments": '{"x": 1}'}
    answered = build_turn(Message("tool", "3", tool_call_id="call_0", name="find"))
    assert answered == {"role": "tool", "content": "3", "tool_call_id": "call_0"}

    class Reply:
        content = None
        tool_calls = (type("Call", (), {"function": call}),)

    assert read_reply(Reply()) == '{"name": "find", "arguments": {"x": 1}}'
