"""One request on its way: its answers come from the engine's thread, and go out as they come."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tasks.evaluation.generation import find_context_length
from tasks.publishing.serving.answering import Delta, PendingAnswer
from tasks.publishing.serving.bodies import Body, ChatBody
from tasks.publishing.serving.engine import Engine, OverloadedError
from tasks.publishing.serving.figures import Figures
from tasks.publishing.serving.problems import RequestRefused, describe_problem
from tasks.publishing.serving.prompts import limit_tokens
from tasks.publishing.serving.replies import END_OF_STREAM, Choice, Reply, write_event

if TYPE_CHECKING:
    from tasks.publishing.serving.decoding import LoadedModel

OVERLOADED = "too many answers wait already; try again"
FAILED = "the answer could not be written; the server's log says why"


class Exchange:
    """A request and its answers: `n` to each prompt, in the prompts' order.

    Args:
        path: Which path was asked, for the figures.
        body: The request.
        prompts: Token ids of each prompt.
        figures: What is counted.
        loop: Where the answers are taken from.
    """

    def __init__(
        self,
        path: str,
        body: Body,
        prompts: Sequence[list[int]],
        figures: Figures,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._path = path
        self._body = body
        self._prompts = prompts
        self._figures = figures
        self._loop = loop
        self._begin = time.monotonic()
        self._news: asyncio.Queue[tuple[int, Delta]] = asyncio.Queue()
        self._answers: list[PendingAnswer] = []
        self._choices: list[Choice] = []
        self._reply: Reply | None = None
        self._status = 499  # until it is over: the client left

    def begin(self, engine: Engine, loaded: LoadedModel, max_new_tokens: int) -> None:
        """Put all answers into the engine's queue, or none.

        Raises:
            RequestRefused: There is no room for them, or too many wait.
        """
        num_answers = len(self._prompts) * self._body.num_answers
        if num_answers > engine.max_waiting:
            message = f"at most {engine.max_waiting} answers a request; {num_answers} are asked for"
            raise RequestRefused(400, message, "too_many_answers", "n")
        context = find_context_length(loaded.model)
        for prompt in self._prompts:
            longest = limit_tokens(
                self._body.longest, len(prompt), longest=max_new_tokens, context=context
            )
            for number in range(self._body.num_answers):
                deliver = functools.partial(self._deliver, len(self._answers))
                wish = self._body.make_wish(longest, number)
                self._answers.append(PendingAnswer(prompt, wish, deliver))
                self._choices.append(Choice())
        kind: Literal["chat", "text"] = "chat" if isinstance(self._body, ChatBody) else "text"
        num_prompt_tokens = sum(len(prompt) for prompt in self._prompts)
        fingerprint = engine.served.version or engine.served.digest[:12]
        self._reply = Reply(kind, self._body.model, fingerprint, num_prompt_tokens)
        try:
            for answer in self._answers:
                engine.submit(answer)
        except OverloadedError:
            self._abandon()
            raise RequestRefused(429, OVERLOADED, "overloaded", retry_after=1) from None
        self._figures.tokens.labels("prompt").inc(num_prompt_tokens)

    async def wait(self) -> dict[str, Any]:
        """Return the whole response.

        Raises:
            RequestRefused: An answer could not be written.
        """
        assert self._reply, "it was begun"
        async for _, delta in self._listen():
            if delta.error:
                self._status = 500
                raise RequestRefused(500, FAILED, "generation_failed")
        self._status = 200
        return self._reply.describe(self._choices)

    async def write_events(self) -> AsyncIterator[str]:
        """Yield the response piece by piece, as server-sent events."""
        assert self._reply, "it was begun"
        for index in range(len(self._choices)):
            yield self._reply.write_start(index)
        async for index, delta in self._listen():
            if delta.error:
                self._status = 500
                yield write_event(describe_problem(500, FAILED, "generation_failed"))
                return
            yield self._reply.write_piece(index, delta.text, delta.finish_reason)
        if self._body.includes_usage:
            yield self._reply.write_usage(sum(choice.num_tokens for choice in self._choices))
        self._status = 200
        yield END_OF_STREAM

    def end(self) -> None:
        """Count the request; what is still being written is not needed any more."""
        self._abandon()
        self._figures.requests.labels(self._path, self._status).inc()
        self._figures.seconds.labels(self._path).observe(time.monotonic() - self._begin)
        written = sum(len(answer.new_ids) for answer in self._answers)
        self._figures.tokens.labels("completion").inc(written)

    def _deliver(self, index: int, delta: Delta) -> None:
        """Take what is new; called on the engine's thread."""
        self._loop.call_soon_threadsafe(self._news.put_nowait, (index, delta))

    async def _listen(self) -> AsyncIterator[tuple[int, Delta]]:
        """Yield what is new until all answers are over."""
        num_open, is_first = len(self._answers), True
        while num_open:
            index, delta = await self._news.get()
            if is_first:
                waited = time.monotonic() - self._begin
                self._figures.first_seconds.labels(self._path).observe(waited)
                is_first = False
            choice = self._choices[index]
            choice.text += delta.text
            choice.finish_reason, choice.num_tokens = delta.finish_reason, delta.num_tokens
            num_open -= delta.finish_reason is not None
            yield index, delta

    def _abandon(self) -> None:
        for answer in self._answers:
            answer.abandon()
