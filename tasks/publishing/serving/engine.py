"""The one thread that writes answers: batches of what waits, and another model between them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.publishing.serving.answering import PendingAnswer

if TYPE_CHECKING:
    from tasks.publishing.serving.decoding import LoadedModel

LOG = logging.getLogger("hone")
LEAST_STEPS = 16  # a pause costs a pass over all tokens so far: not after each token


class OverloadedError(Exception):
    """As many answers wait as may."""


@dataclass(frozen=True)
class Served:
    """A model that can be loaded."""

    name: str
    """What clients call it."""
    version: str
    """The registry's version; empty where it is none of the registry's."""
    digest: str
    open: Callable[[], AbstractContextManager[LoadedModel]]


class Engine:
    """Writes answers in batches, one batch at a time.

    An answer that comes while others are written joins them after a few tokens. Another model
    takes over when all answers that were begun are over: none is begun by one and ended by another.

    Args:
        served: The first model; it is loaded when the engine starts.
        max_batch_size: Answers that are written together.
        max_waiting: Answers that may wait; more are refused.
    """

    def __init__(self, served: Served, *, max_batch_size: int, max_waiting: int) -> None:
        self.served = served
        self.loaded: LoadedModel | None = None
        self.failure: Exception | None = None
        self.num_swaps = 0
        self.max_waiting = max_waiting
        self._max_batch_size = max_batch_size
        self._waiting: deque[PendingAnswer] = deque()
        self._active: list[PendingAnswer] = []
        self._next: Served | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._opened = ExitStack()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hone-engine", daemon=True)

    @property
    def num_waiting(self) -> int:
        """Answers that were not begun."""
        return len(self._waiting)

    @property
    def num_active(self) -> int:
        """Answers that are being written."""
        return len(self._active)

    @property
    def is_alive(self) -> bool:
        """Whether a model is loaded and its thread works."""
        return self.loaded is not None and self._thread.is_alive()

    def start(self) -> None:
        """Load the model; returns when it can answer.

        Raises:
            Exception: Whatever kept it from loading.
        """
        self._thread.start()
        self._ready.wait()
        if self.failure:
            raise self.failure

    def submit(self, answer: PendingAnswer) -> None:
        """Put an answer into the queue.

        Raises:
            OverloadedError: Too many wait already.
        """
        with self._changed:
            if self._stopping or len(self._waiting) >= self.max_waiting:
                raise OverloadedError
            self._waiting.append(answer)
            self._changed.notify_all()

    def swap(self, served: Served) -> None:
        """Let another model take over as soon as the answers that were begun are over."""
        with self._changed:
            self._next = served
            self._changed.notify_all()

    def stop(self) -> None:
        """End the thread; answers that are not over fail."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=60)

    def _run(self) -> None:
        try:
            self._open(self.served)
        except Exception as err:  # noqa: BLE001 - `start` raises it
            self.failure = err
            return
        finally:
            self._ready.set()
        try:
            while self._take_turn():
                pass
        finally:
            self._end()

    def _take_turn(self) -> bool:
        """Write one batch, or let another model take over; False when it is time to end."""
        with self._changed:
            self._changed.wait_for(self._has_work)
            if self._stopping:
                return False
            following = self._next
            if following is None:
                self._admit()
        if following and not self._active:
            self._take_over(following)
        elif self._active:
            self._write()
        return True

    def _has_work(self) -> bool:
        return self._stopping or bool(self._active or self._waiting or self._next)

    def _admit(self) -> None:
        while self._waiting and len(self._active) < self._max_batch_size:
            answer = self._waiting.popleft()
            if not answer.is_over:
                self._active.append(answer)

    def _write(self) -> None:
        from tasks.publishing.serving.decoding import write_answers

        assert self.loaded is not None, "a model was loaded before the first turn"
        batch = list(self._active)
        try:
            write_answers(self.loaded, batch, self._should_pause)
        except Exception as err:
            LOG.exception("%d answers could not be written", len(batch))
            for answer in batch:
                answer.fail(err)
        self._active = [answer for answer in batch if not answer.is_over]

    def _should_pause(self, num_steps: int) -> bool:
        """Tell whether another batch would do more than this one."""
        if self._stopping:
            return True
        num_over = sum(answer.is_over for answer in self._active)
        has_room = len(self._active) - num_over < self._max_batch_size
        can_join = bool(self._waiting) and self._next is None and has_room
        return num_steps >= LEAST_STEPS and (can_join or 2 * num_over > len(self._active))

    def _take_over(self, following: Served) -> None:
        """Load the next model in the place of this one; where that fails, this one comes back."""
        before = self.served
        self.loaded = None
        self._opened.close()
        try:
            self._open(following)
            self.num_swaps += 1
            LOG.info("serve: %s is now version %s", following.name, following.version)
        except Exception:
            LOG.exception("serve: version %s cannot be loaded", following.version)
            self._open(before)
        with self._changed:
            if self._next is following:
                self._next = None

    def _open(self, served: Served) -> None:
        self.loaded = self._opened.enter_context(served.open())
        self.served = served

    def _end(self) -> None:
        with self._changed:
            self._stopping = True
            left = [*self._active, *self._waiting]
            self._active, self.loaded = [], None
            self._waiting.clear()
        for answer in left:
            answer.fail(RuntimeError("the server is stopping"))
        self._opened.close()
