from __future__ import annotations

import pytest

from tasks.publishing.serving.answering import Delta, PendingAnswer, Wish, hold_back
from tests.tasks.publishing.conftest import Workshop

TEXT = "Überraschung: 東京 😀 and more"


def write(workshop: Workshop, text: str, *, ends: bool = True, **wish: object) -> list[Delta]:
    """Write a text token by token; return what was handed on."""
    renderer, deltas = workshop.renderer, list[Delta]()
    ids = renderer.tokenizer.encode(text, add_special_tokens=False)
    ids += [renderer.end_token_ids[0]] if ends else []
    options = {"max_new_tokens": len(ids), **wish}
    answer = PendingAnswer([1], Wish(**options), deltas.append)  # type: ignore[arg-type]
    for token in ids:
        if not answer.is_over:
            answer.add_token(token, renderer.end_token_ids, renderer)
    return deltas


def join(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def test_no_half_character_is_handed_on(workshop: Workshop) -> None:
    deltas = write(workshop, TEXT)
    assert join(deltas) == TEXT
    assert len(deltas) > 5
    assert not any("\ufffd" in delta.text for delta in deltas)
    assert [delta.finish_reason for delta in deltas][-1] == "stop"


def test_an_answer_ends_before_a_stop_text(workshop: Workshop) -> None:
    deltas = write(workshop, TEXT, stop=("and m", "never"))
    assert join(deltas) == "Überraschung: 東京 😀 "
    assert deltas[-1].finish_reason == "stop"


def test_what_only_begins_like_a_stop_text_is_handed_on(workshop: Workshop) -> None:
    assert join(write(workshop, TEXT, stop=("and X",))) == TEXT


def test_an_answer_that_is_too_long_says_so(workshop: Workshop) -> None:
    deltas = write(workshop, TEXT, max_new_tokens=3)
    assert deltas[-1].finish_reason == "length"
    assert deltas[-1].num_tokens == 3
    assert TEXT.startswith(join(deltas))


@pytest.mark.parametrize(
    ("text", "stops", "certain"),
    [("one E", ["END"], "one "), ("one", ["END"], "one"), ("\n\n", ["\n\n\n"], ""), ("x", [], "x")],
)
def test_only_what_is_certain_is_shown(text: str, stops: list[str], certain: str) -> None:
    assert hold_back(text, stops) == certain
