"""Throughput: real tokens over the time spent on training steps alone."""

from __future__ import annotations

import time


class Meter:
    """Counts tokens and time, read only where metrics are read, so that no step waits for it."""

    def __init__(self) -> None:
        self.tokens = 0
        self.seconds = 0.0
        self._since: float | None = None

    def add(self, tokens: int) -> None:
        """Count the tokens of a micro-batch that begins now; there is no padding to leave out."""
        if self._since is None:
            self._since = time.perf_counter()
        self.tokens += tokens

    def read(self) -> float:
        """Return the tokens per second of all steps so far."""
        if self._since is not None:
            now = time.perf_counter()
            self.seconds += now - self._since
            self._since = now
        return self.tokens / max(self.seconds, 1e-9)

    def pause(self) -> None:
        """Leave out the time from the last `read` to the next micro-batch."""
        self._since = None
