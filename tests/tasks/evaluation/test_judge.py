import doctest
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from unittest.mock import Mock

import pytest

from configs.errors import RequestError
from tasks.evaluation import judge
from tasks.evaluation.changes import Change, sort_changes
from tasks.evaluation.judge import ask_server, judge_pairs, read_choice, sum_up
from tests.local_http import serve_http
from tests.tasks.evaluation.rows import make_rows

NUM_PAIRS = 12


@pytest.fixture
def pairs() -> list[Change]:
    """The candidate is right in all of them, its opponent in the last three."""
    candidate = make_rows([1.0] * NUM_PAIRS)
    opponent = make_rows([0.0] * (NUM_PAIRS - 3) + [1.0] * 3)
    changes = sort_changes(candidate, opponent)
    return [*changes.won, *changes.lost, *changes.unchanged]


def find_better(question: str) -> str:
    first, second = (
        question.split(f"<answer_{name}>\n")[1].split("\n</answer", maxsplit=1)[0] for name in "AB"
    )
    return "A" if "answer" in first else "B" if "answer" in second else "TIE"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("A", "first"),
        ("I think so.\n\n B. \n", "second"),
        ("**Tie**", "tie"),
        ("Verdict: A", "first"),
        ("A is better", "unread"),
        ("", "unread"),
        ("A\nor B?", "unread"),
    ],
)
def test_the_last_line_is_the_verdict(text: str, choice: str) -> None:
    assert read_choice(text) == choice


def test_an_honest_judge_finds_the_better_answers(pairs: list[Change]) -> None:
    asked = []

    def ask(instruction: str, question: str) -> str:
        asked.append(question)
        return find_better(question)

    judged = sum_up(judge_pairs(ask, pairs))
    assert (judged.won, judged.lost, judged.tied) == (9, 0, 3)
    assert (judged.disagreements, judged.unread) == (0, 0)
    assert judged.net.value == 0.75
    assert 0.3 < judged.net.lower < 0.75 < judged.net.upper <= 1
    assert len(asked) == 18  # equal answers are not asked about


def test_a_judge_that_likes_the_first_place_decides_nothing(pairs: list[Change]) -> None:
    judged = sum_up(judge_pairs(Mock(return_value="A"), pairs))
    assert (judged.won, judged.lost, judged.tied) == (0, 0, 12)
    assert judged.disagreements == 9
    unsure = sum_up(judge_pairs(Mock(return_value="Hm."), pairs))
    assert (unsure.unread, unsure.disagreements, unsure.net.value) == (9, 0, 0)


class Handler(BaseHTTPRequestHandler):
    key = "right"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_known = self.headers["Authorization"] == f"Bearer {self.key}"
        text = find_better(body["messages"][-1]["content"])
        choice = {"index": 0, "finish_reason": "stop"}
        content: dict[str, Any] = {
            "id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [choice | {"message": {"role": "assistant", "content": f"So:\n{text}"}}],
        }  # fmt: skip
        data = json.dumps(content if is_known else {"error": {"message": "who?"}}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def judge_url() -> Iterator[str]:
    with serve_http(Handler) as address:
        yield f"{address}/v1"


def test_a_judge_is_asked_over_http_with_the_key_of_the_environment(
    judge_url: str, pairs: list[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    with ask_server(judge_url, "any") as ask:
        judged = sum_up(judge_pairs(ask, pairs))
    assert (judged.won, judged.tied) == (9, 3)
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with (
        ask_server(judge_url, "any") as ask,
        pytest.raises(RequestError, match=r"evaluation\.judge_url: .* refuses the key"),
    ):
        judge_pairs(ask, pairs[:1])


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(judge).failed == 0
