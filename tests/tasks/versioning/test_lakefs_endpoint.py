from __future__ import annotations

import sys
from pathlib import Path

import pytest

from configs.errors import RequestError
from flows.cli import main
from tasks.versioning.lakefs_client import open_client
from tasks.versioning.lakefs_endpoint import check_endpoint
from tests.lakefs_server.fixture import VARIABLES


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:8000", "https://lakefs.example.com", "localhost:8000", "lake_fs",
        "http://[::1]:8000/api/v1", "http://u:p@host:1/", "https://host./api/v1/",
    ],
)  # fmt: skip
def test_addresses_of_servers_are_taken(endpoint: str) -> None:
    check_endpoint(endpoint, "LAKEFS_ENDPOINT")


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("http://host:port", "host or port"),
        ("http://host:99999", "host or port"),
        ("http://host:0", "port is 0"),
        ("http://[::1", "host or port"),
        ("ftp://host", "scheme"),
        ("https//host", "without its colon"),
        ("http://", "no host"),
        ("http://a b", "space"),
        ("http://-host", "no name of a machine"),
        ("https://https://host", "written twice"),
    ],
)
def test_what_is_no_address_is_a_wrong_request(endpoint: str, problem: str) -> None:
    with pytest.raises(RequestError, match=problem) as refused:
        check_endpoint(endpoint, "LAKEFS_ENDPOINT")
    assert refused.value.where == "LAKEFS_ENDPOINT"
    assert "http://HOST:PORT" in refused.value.allowed


def test_a_password_in_an_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "http://someone:pass#word@host:port/?key=hidden"
    for name, value in zip(VARIABLES, (address, "key", "secret"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match=r'"http://host:port/" is not') as refused:
        open_client()
    for secret in ("someone", "pass", "word", "hidden"):
        assert secret not in str(refused.value)


def test_the_command_ends_with_3(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in zip(VARIABLES, ("http://host:port", "key", "secret"), strict=True):
        monkeypatch.setenv(name, value)
    command = ["hone", "data", "diff", "lakefs://repo/main/a", "lakefs://repo/main~1/a"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert "LAKEFS_ENDPOINT" in capsys.readouterr().err


def test_an_address_from_lakectl_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", "http://host:port/api/v1")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(RequestError, match="host or port") as refused:
        open_client()
    assert refused.value.where == "LAKECTL_SERVER_ENDPOINT_URL"
