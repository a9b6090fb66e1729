"""An OpenAI-compatible server of the tiny base model, on a free port."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tasks.evaluation.generation import Answer, generate_answers
from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.messages import Message
from tasks.records.observer import SilentObserver
from tests.local_http import serve_http


@dataclass
class ModelServer:
    """What answers, and how it misbehaves."""

    model: Any
    renderer: Renderer
    url: str = ""
    key: str = ""
    """Where not empty, others are refused."""
    context: int = 4096
    """Longer prompts are cut silently, as some servers do."""
    fault: int = 0
    """The status of every answer, if not 0."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        turns = [Message(turn["role"], turn["content"]) for turn in body["messages"]]
        prompt = self.renderer.encode_prompt(turns)[-self.context :]
        with self.lock:
            self.requests.append(body)
            answer: Answer = generate_answers(
                self.model, self.renderer, [prompt], max_new_tokens=body["max_tokens"],
                batch_size=1, observer=SilentObserver(),
            )[0]  # fmt: skip
        return {
            "id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{
                "index": 0, "finish_reason": "stop" if answer.ended else "length",
                "message": {"role": "assistant", "content": answer.text},
            }],
            "usage": {
                "prompt_tokens": len(prompt), "completion_tokens": len(answer.token_ids),
                "total_tokens": len(prompt) + len(answer.token_ids),
            },
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """Speaks as much of the API as chat completions need."""

    protocol_version = "HTTP/1.1"
    owner: ModelServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions" or body["model"] != "tiny":
            self.send(404, {"error": {"message": f"no model {body.get('model')}"}})
        elif self.owner.key and self.headers["Authorization"] != f"Bearer {self.owner.key}":
            self.send(401, {"error": {"message": "wrong key"}})
        elif self.owner.fault:
            self.send(self.owner.fault, {"error": {"message": "a fault that was asked for"}})
        else:
            self.send(200, self.owner.answer(body))

    def send(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def model_server(
    tiny_base: Any, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModelServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    served = ModelServer(tiny_base, renderer)
    handler = type("OwnHandler", (Handler,), {"owner": served})
    with serve_http(handler) as address:
        served.url = f"{address}/v1"
        yield served
