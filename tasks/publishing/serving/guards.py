"""Who may ask, how often, and how much: checked before anything is read or computed."""

from __future__ import annotations

import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request

from tasks.publishing.serving.problems import RequestRefused

MAX_BODY_BYTES = 4 << 20
MAX_CLIENTS = 10_000  # remembered at once; the one that asked longest ago is forgotten
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_token(request: Request, token: str | None) -> None:
    """Refuse a request without the server's token; the comparison takes the same time for all.

    Raises:
        RequestRefused: The token is missing or another.
    """
    if token is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    is_same = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not is_same:
        message = "the token is missing or wrong: send it as `Authorization: Bearer TOKEN`"
        raise RequestRefused(401, message, "invalid_api_key")


async def read_content(request: Request) -> bytes:
    """Return a request's body.

    A page in a browser can send anything but JSON without being asked whether it may.

    Raises:
        RequestRefused: It is no JSON, or too large.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestRefused(415, "the body must be application/json", "unsupported_media_type")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            message = f"the body is larger than {MAX_BODY_BYTES} bytes"
            raise RequestRefused(413, message, "request_too_large")
    return bytes(content)


@dataclass
class RateLimit:
    """So many requests a minute for each client, and as many at once after a pause.

    Source: the token bucket; it fills by `per_minute / 60` each second, up to `per_minute`.
    """

    per_minute: int
    """0: no limit."""
    clock: Callable[[], float] = time.monotonic
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def check(self, client: str) -> None:
        """Take one request from a client's allowance.

        Raises:
            RequestRefused: There is none left; it says when there will be.
        """
        if not self.per_minute:
            return
        now = self.clock()
        left, since = self._left.pop(client, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - since) * self.per_minute / 60)
        is_allowed = left >= 1
        self._left[client] = (left - 1 if is_allowed else left, now)
        if len(self._left) > MAX_CLIENTS:
            self._left.popitem(last=False)
        if not is_allowed:
            wait = math.ceil((1 - left) * 60 / self.per_minute)
            message = f"more than {self.per_minute} requests a minute; try again in {wait} s"
            raise RequestRefused(429, message, "rate_limit_exceeded", retry_after=wait)
