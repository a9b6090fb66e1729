from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tasks.evaluation.generation import generate_answers
from tasks.formatting.rows.examples import Message
from tasks.publishing.serving.answering import Delta, PendingAnswer, Wish
from tasks.publishing.serving.engine import Engine, OverloadedError, Served
from tasks.records.observer import SilentObserver
from tests.tasks.publishing.conftest import QUESTIONS, Workshop

from .conftest import MakeServed


class Listener:
    """Collects an answer."""

    def __init__(self, workshop: Workshop, question: str, wish: Wish) -> None:
        prompt = workshop.renderer.encode_prompt([Message("user", question)])
        self.news: queue.Queue[Delta] = queue.Queue()
        self.answer = PendingAnswer(prompt, wish, self.news.put)

    def wait(self) -> Delta:
        """Return the whole answer as one delta."""
        text = ""
        while True:
            delta = self.news.get(timeout=120)
            text += delta.text
            if delta.finish_reason or delta.error:
                return Delta(text, delta.finish_reason, delta.num_tokens, delta.error)


def ask(engine: Engine, workshop: Workshop, wishes: Sequence[tuple[str, Wish]]) -> list[Delta]:
    listeners = [Listener(workshop, question, wish) for question, wish in wishes]
    for listener in listeners:
        engine.submit(listener.answer)
    return [listener.wait() for listener in listeners]


def test_answers_written_together_are_those_of_the_evaluation(
    engine: Engine, workshop: Workshop
) -> None:
    lengths = [3, 20, 7, 12, 1, 20]
    wishes = [(f"What is {q}?", Wish(n)) for q, n in zip(QUESTIONS, lengths, strict=False)]
    found = ask(engine, workshop, wishes)
    assert engine.loaded is not None
    for (question, wish), delta in zip(wishes, found, strict=True):
        prompt = workshop.renderer.encode_prompt([Message("user", question)])
        [expected] = generate_answers(
            engine.loaded.model, workshop.renderer, [prompt],
            max_new_tokens=wish.max_new_tokens, batch_size=1, observer=SilentObserver(),
        )  # fmt: skip
        assert delta.text == expected.text
        assert delta.num_tokens == len(expected.token_ids)
        assert delta.finish_reason == ("stop" if expected.ended else "length")


def test_a_seed_draws_the_same_answer_beside_any_other(engine: Engine, workshop: Workshop) -> None:
    drawn = ("What is len?", Wish(12, temperature=1.0, seed=7))
    other = ("What is zip?", Wish(12, temperature=1.5, seed=8))
    [alone] = ask(engine, workshop, [drawn])
    [beside, _, again] = ask(engine, workshop, [drawn, other, drawn])
    assert alone.text == beside.text == again.text
    texts = {ask(engine, workshop, [(drawn[0], Wish(12, 1.0, seed=n))])[0].text for n in range(4)}
    assert len(texts) > 1


def test_top_p_of_nearly_nothing_is_greedy(engine: Engine, workshop: Workshop) -> None:
    greedy, narrow = ask(
        engine, workshop, [("What is len?", Wish(8)), ("What is len?", Wish(8, 1.0, 1e-6, 3))]
    )
    assert greedy.text == narrow.text


def test_an_abandoned_answer_is_not_gone_on_with(engine: Engine, workshop: Workshop) -> None:
    listener = Listener(workshop, "What is len?", Wish(900, temperature=2.0, seed=1))
    engine.submit(listener.answer)
    listener.news.get(timeout=60)
    listener.answer.abandon()
    [after] = ask(engine, workshop, [("What is zip?", Wish(4))])
    assert after.finish_reason
    assert len(listener.answer.new_ids) < 900


def test_another_model_takes_over_between_answers(
    make_served: MakeServed, workshop: Workshop
) -> None:
    engine = Engine(make_served(1), max_batch_size=4, max_waiting=8)
    engine.start()
    try:
        wish = [("What is len?", Wish(20))]
        [first] = ask(engine, workshop, wish)
        begun = Listener(workshop, *wish[0])
        engine.submit(begun.answer)
        begun_text = begun.news.get(timeout=60)
        engine.swap(make_served(2))
        [second] = ask(engine, workshop, wish)
        text = begun_text.text if begun_text.finish_reason else begun_text.text + begun.wait().text
        assert text == first.text
        assert second.text != first.text
        assert engine.served.version == "2"
        assert engine.num_swaps == 1
    finally:
        engine.stop()


def test_a_model_that_cannot_be_loaded_takes_over_nothing(
    make_served: MakeServed, workshop: Workshop
) -> None:
    @contextmanager
    def fail() -> Any:
        raise OSError("no such weights")
        yield

    engine = Engine(make_served(1), max_batch_size=4, max_waiting=8)
    engine.start()
    try:
        engine.swap(Served("tiny-test", "9", "9", fail))
        [answer] = ask(engine, workshop, [("What is len?", Wish(4))])
        assert answer.error is None
        assert engine.served.version == "1"
    finally:
        engine.stop()


def test_more_than_may_wait_is_refused(make_served: MakeServed, workshop: Workshop) -> None:
    engine = Engine(make_served(1), max_batch_size=1, max_waiting=1)
    engine.start()
    try:
        long = [Listener(workshop, "What is len?", Wish(400, 2.0, seed=n)) for n in range(3)]
        engine.submit(long[0].answer)
        deadline = time.monotonic() + 60
        while not engine.num_active:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        engine.submit(long[1].answer)
        with pytest.raises(OverloadedError):
            engine.submit(long[2].answer)
    finally:
        engine.stop()
    assert [listener.wait().error is not None for listener in long[:2]] == [True, True]


def test_a_model_that_cannot_be_loaded_at_first_is_an_error(make_served: MakeServed) -> None:
    @contextmanager
    def fail() -> Any:
        raise OSError("no such weights")
        yield

    with pytest.raises(OSError, match="no such weights"):
        Engine(Served("x", "", "x", fail), max_batch_size=1, max_waiting=1).start()
