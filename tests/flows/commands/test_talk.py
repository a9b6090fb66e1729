from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from flows.commands.talk import answer_prompts, read_prompts, talk
from tasks.generate import Speaker

TINY_BASE = Path(__file__).resolve().parents[3] / "data" / "tiny-base"
GREEDY: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.0, "top_p": 1.0, "seed": 0}


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker(str(TINY_BASE))


def say(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_piped_conversation_has_a_history(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(monkeypatch, "What is len?\n\nAnd zip?\n/quit\nnot asked\n")
    assert talk(speaker, GREEDY) == 0
    [first] = speaker.answer(["What is len?"], max_new_tokens=6)
    turns = [("user", "What is len?"), ("assistant", first), ("user", "And zip?")]
    [second] = speaker.answer([turns], max_new_tokens=6)
    assert capsys.readouterr().out == f"{first}\n{second}\n"


def test_a_new_conversation_forgets_the_old_one(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(monkeypatch, "What is len?\n/new\nAnd zip?")
    talk(speaker, GREEDY)
    [alone] = speaker.answer(["And zip?"], max_new_tokens=6)
    assert capsys.readouterr().out.endswith(f"\n{alone}\n")


def test_what_does_not_fit_ends_a_piped_conversation(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "x " * 2000)
    with pytest.raises(RequestError, match="context"):
        talk(speaker, GREEDY)


def test_a_stream_is_the_answer(speaker: Speaker) -> None:
    pieces: list[str] = []
    text = speaker.stream("What is len?", pieces.append, max_new_tokens=12)
    assert [text] == speaker.answer(["What is len?"], max_new_tokens=12)
    assert "".join(pieces) == text
    drawn = [speaker.stream("Hi", pieces.append, max_new_tokens=9, temperature=1.0, seed=s)
             for s in (1, 1, 2, 3)]  # fmt: skip
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_prompts_and_conversations_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\u2028!"}]
    rows = [{"prompt": "What is len?"}, {"messages": turns}]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n")
    assert read_prompts(file) == [
        "What is len?", [("system", "Be brief."), ("user", "Hi\u2028!")]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("missing.txt", None, "no file"),
        ("empty.txt", " \n", "is empty"),
        ("rows.jsonl", '{"prompt": "a"}\n{"prompt": 3}\n', r"rows.jsonl:2: no prompt"),
        ("rows.jsonl", '{"messages": [{"role": "user"}]}\n', r"rows.jsonl:1: no prompt"),
        ("rows.jsonl", '{"prompt": \n', r"rows.jsonl:1: broken JSON"),
    ],
)
def test_a_file_without_prompts_is_told_why(
    tmp_path: Path, name: str, content: str | None, found: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(RequestError, match=found):
        read_prompts(tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"prompts": ["a"], "input_file": Path("b")}, "both --prompt and --input"),
        ({"as_json": True}, "nothing to answer"),
        ({"prompts": ["a"], "num_samples": 2}, "would all be the same"),
    ],
)
def test_a_wrong_question_is_told_before_a_model_is_loaded(
    changes: dict[str, Any], found: str
) -> None:
    asked = {"prompts": [], "input_file": None, "num_samples": 1, "as_json": False}
    with pytest.raises(RequestError, match=found):
        answer_prompts("no-such-model", **{**asked, **GREEDY, **changes})
