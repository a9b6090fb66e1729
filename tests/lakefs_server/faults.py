"""Failures on demand: answers that throttle or fail, and connections cut in mid-body."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """What to do to the next matching requests instead of answering them."""

    method: str = "GET"
    path: str = ""
    """A regular expression found in the request's path and query."""
    status: int = 0
    retry_after_seconds: int | None = None
    cut_after_bytes: int | None = None
    """Send that much of the body, then drop the connection."""
    flip_byte: bool = False
    """Send a body of the right length with its last byte changed."""
    ignore_range: bool = False
    """Send the whole body whatever part is asked for."""


@dataclass
class Faults:
    """The faults that wait for their request, and every request that came."""

    waiting: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: Fault, times: int = 1) -> None:
        """Let a fault strike the next `times` matching requests."""
        with self.lock:
            self.waiting += [fault] * times

    def note(self, method: str, target: str, byte_range: str) -> Fault | None:
        """Note a request, and return the fault that strikes it."""
        with self.lock:
            self.requests.append(f"{method} {target} {byte_range}".strip())
            for index, fault in enumerate(self.waiting):
                if fault.method == method and re.search(fault.path, target):
                    return self.waiting.pop(index)
        return None

    def count(self, pattern: str) -> int:
        """Return how many requests matched so far."""
        return len(self.find(pattern))

    def find(self, pattern: str) -> list[str]:
        """Return the requests that matched so far."""
        with self.lock:
            return [request for request in self.requests if re.search(pattern, request)]
