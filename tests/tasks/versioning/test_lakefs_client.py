from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import urllib3
from lakefs.repository import Repository

from configs.errors import RequestError, RunError
from tasks.versioning import lakefs_client
from tasks.versioning.lakefs_client import (
    LakeFSPath,
    Retries,
    call_with_retries,
    explain_lakefs_errors,
    make_redirects,
    open_client,
    parse_uri,
)  # fmt: skip
from tasks.versioning.sources import open_source
from tests.lakefs_server.fixture import VARIABLES, LakeFSServer
from tests.local_http import serve_http

LAKECTL = (
    "LAKECTL_SERVER_ENDPOINT_URL", "LAKECTL_CREDENTIALS_ACCESS_KEY_ID",
    "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY",
)  # fmt: skip


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that names no server."""
    for name in (*VARIABLES, *LAKECTL):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAKECTL_CONFIG_FILE", str(tmp_path / "lakectl.yaml"))
    monkeypatch.setattr(lakefs_client, "RETRIES", Retries(2, 0.01, 0.02))
    return monkeypatch


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("lakefs://repo/main/a/b.jsonl", LakeFSPath("repo", "main", "a/b.jsonl")),
        ("lakefs://repo/main~2/a/", LakeFSPath("repo", "main~2", "a")),
        ("lakefs://repo/v1", LakeFSPath("repo", "v1", "")),
        ("lakefs://repo/v1/", LakeFSPath("repo", "v1", "")),
    ],
)
def test_uris_are_taken_apart(uri: str, expected: LakeFSPath) -> None:
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(
    "uri",
    ["lakefs://repo", "lakefs://repo//a", "lakefs:///main/a", "lakefs://R_X/main", "s3://b/c"],
)
def test_malformed_uris_are_refused(uri: str) -> None:
    with pytest.raises(RequestError, match=r"is not a lakeFS URI.*lakefs://REPOSITORY/REF/PATH"):
        parse_uri(uri)


def test_without_settings_the_error_says_what_to_set(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="LAKEFS_ENDPOINT, LAKEFS_ACCESS_KEY and"):
        open_client()
    bare.setenv("LAKEFS_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(RequestError, match="LAKEFS_ACCESS_KEY and LAKEFS_SECRET_KEY not set"):
        open_client()


def test_settings_of_lakectl_do_as_well(
    bare: pytest.MonkeyPatch, lakefs: LakeFSServer, tmp_path: Path
) -> None:
    for name, value in zip(LAKECTL, lakefs.environment.values(), strict=True):
        bare.setenv(name, value)
    assert open_client().version
    for name in LAKECTL:
        bare.delenv(name)
    (tmp_path / "lakectl.yaml").write_text(
        f"server: {{endpoint_url: {lakefs.endpoint}}}\n"
        f"credentials: {{access_key_id: {lakefs.access_key}, "
        f"secret_access_key: {lakefs.secret_key}}}\n"
    )
    assert open_client().version


def test_wrong_keys_are_named_without_showing_them(
    bare: pytest.MonkeyPatch, lakefs: LakeFSServer
) -> None:
    for name, value in zip(VARIABLES, (lakefs.endpoint, "AKIAJWRONG", "w-secret"), strict=True):
        bare.setenv(name, value)
    with pytest.raises(
        RequestError, match=r"refuses the keys \(401\).*LAKEFS_ACCESS_KEY"
    ) as caught:
        open_source("lakefs://repo/main/a", Path())
    assert "w-secret" not in str(caught.value)
    assert "AKIAJWRONG" not in str(caught.value)


def test_missing_repositories_and_refs_are_named_with_those_that_exist(
    lakefs_repository: Repository,
) -> None:
    name = lakefs_repository.id
    with pytest.raises(RequestError, match=r"no repository 'no-such-one'(.|\n)*allowed: .*hone-"):
        open_source("lakefs://no-such-one/main/a", Path())
    with pytest.raises(RequestError, match=f"{name} has no branch, tag or commit 'mian'.*main"):
        open_source(f"lakefs://{name}/mian/a", Path())
    with pytest.raises(RequestError, match="no branch, tag or commit 'main~9'"):
        open_source(f"lakefs://{name}/main~9/a", Path())
    with pytest.raises(RequestError, match="holds nothing under 'a'"):
        open_source(f"lakefs://{name}/main/a", Path())


def test_a_server_that_is_away_is_named_without_its_password(bare: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    for name, value in zip(VARIABLES, (f"http://u:pw@{address}", "key", "secret"), strict=True):
        bare.setenv(name, value)
    with pytest.raises(RunError, match=f"http://{address} does not answer") as caught:
        open_source("lakefs://repo/main/a", Path())
    assert "pw" not in str(caught.value)


def test_only_failures_that_may_pass_are_tried_again() -> None:
    from lakefs.exceptions import ServerException

    calls: list[int] = []

    def fail(status: int) -> None:
        calls.append(status)
        raise ServerException(status, "x")

    for status, expected in ((503, 3), (429, 3), (404, 1), (400, 1)):
        calls.clear()
        with (
            pytest.raises((RequestError, RunError), match=str(status)),
            explain_lakefs_errors("trying", "here"),
        ):
            call_with_retries(lambda s=status: fail(s), Retries(3, 0.001, 0.002))  # type: ignore[misc]
        assert len(calls) == expected


def test_waits_grow_with_jitter_and_heed_the_server() -> None:
    retries = Retries(6, 0.25, 10)
    for attempt, ceiling in ((1, 0.25), (3, 1.0), (9, 10.0)):
        waits = {retries.wait_before(attempt) for _ in range(20)}
        assert len(waits) > 1
        assert all(ceiling / 2 <= wait <= ceiling for wait in waits)
    assert retries.wait_before(1, asked_seconds=4) == 4
    assert retries.wait_before(1, asked_seconds=4000) == 10


def test_redirects_are_followed() -> None:
    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/there" else 307)
            self.send_header("Location", "/there")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with (
        serve_http(Redirecting) as address,
        urllib3.PoolManager(retries=make_redirects()) as pool,
    ):
        answer = pool.request("GET", f"{address}/here")
    assert answer.status == 200


def test_a_broken_settings_file_of_lakectl_is_one_clear_error(
    bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lakectl.yaml").write_text("credentials: [\n")
    with pytest.raises(RequestError, match="settings file is no YAML"):
        open_client()
