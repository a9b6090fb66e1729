"""A served champion, as a process of its own, and the client that users have."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request

import openai
import pytest

from tests.flows.conftest import CallHone
from tests.flows.running import Outcome, end_hone, run_hone, start_hone, wait_for

TOKEN = "a-token-for-tests"
QUESTION = {"role": "user", "content": "Put amber in the box."}


def find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.slow
def test_a_champion_is_served_until_it_is_told_to_end(published: Outcome) -> None:
    port = find_port()
    process = start_hone(
        published.home, "serve", "models:/small@champion", "--port", str(port),
        HONE_SERVE_TOKEN=TOKEN,
    )  # fmt: skip

    def is_there() -> bool:
        assert process.poll() is None, process.communicate()[1]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as reply:
                return json.load(reply) == {"status": "ok", "model": "small", "version": "1"}
        except OSError:
            return False

    wait_for(is_there, "the server")
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=TOKEN) as client:
        reply = client.chat.completions.create(model="small", messages=[QUESTION])  # type: ignore[list-item]
        assert reply.choices[0].message.content == "Done."
        assert reply.choices[0].finish_reason == "stop"
        stream = client.chat.completions.create(
            model="models:/small@champion",
            messages=[QUESTION],
            stream=True,  # type: ignore[list-item]
        )
        assert "".join(piece.choices[0].delta.content or "" for piece in stream) == "Done."
    process.send_signal(signal.SIGTERM)
    outcome = end_hone(process, published.home)
    assert outcome.code == 0, outcome.stderr
    assert TOKEN not in outcome.stderr + outcome.stdout
    assert outcome.stdout == ""


@pytest.mark.long
@pytest.mark.slow
def test_a_run_is_exported_and_the_export_is_a_model(published: Outcome) -> None:
    target = published.home.parent / "merged"
    exported = run_hone(
        published.home, "export", published.result["run_dir"], "--format", "merged",
        "--output", str(target), "--json",
    )  # fmt: skip
    assert exported.code == 0, exported.stderr
    assert exported.result["max_logit_difference"] <= exported.result["tolerance"]
    assert exported.result["path"] == str(target)
    answered = run_hone(
        published.home, "generate", str(target), "--prompt", QUESTION["content"],
        "--max-new-tokens", "8", "--json",
    )  # fmt: skip
    assert answered.result["answers"] == [{"prompt": QUESTION["content"], "answer": "Done."}]


def test_a_server_that_others_reach_needs_a_token(call_hone: CallHone) -> None:
    outcome = call_hone("serve", "models:/small@champion", "--host", "0.0.0.0")  # noqa: S104
    assert outcome.code == 3
    assert "HONE_SERVE_TOKEN" in outcome.stderr


def test_a_model_that_was_never_published_is_not_served(call_hone: CallHone) -> None:
    outcome = call_hone("serve", "models:/never@champion", "--port", str(find_port()))
    assert outcome.code == 3
    assert "models:/never@champion" in outcome.stderr
