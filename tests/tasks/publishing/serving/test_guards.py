from __future__ import annotations

import pytest

from tasks.publishing.serving.guards import MAX_CLIENTS, RateLimit, is_loopback
from tasks.publishing.serving.problems import RequestRefused


def test_an_allowance_fills_again() -> None:
    now = [0.0]
    limit = RateLimit(60, clock=lambda: now[0])
    for _ in range(60):
        limit.check("a")
    with pytest.raises(RequestRefused) as refused:
        limit.check("a")
    assert refused.value.headers == {"Retry-After": "1"}
    limit.check("b")
    now[0] = 1.0
    limit.check("a")
    with pytest.raises(RequestRefused):
        limit.check("a")


def test_no_more_clients_are_remembered_than_may() -> None:
    limit = RateLimit(1)
    for number in range(MAX_CLIENTS + 5):
        limit.check(str(number))
    assert len(limit._left) == MAX_CLIENTS


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),  # noqa: S104
     ("192.168.1.2", False), ("example.org", False)],
)  # fmt: skip
def test_what_only_this_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
