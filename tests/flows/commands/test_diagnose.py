from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flows.commands.diagnose import Finding, diagnose, find_all

SECRET = "sEcr3t"


class Guard(BaseHTTPRequestHandler):
    """A server that answers only who brings the password."""

    def do_GET(self) -> None:
        expected = base64.b64encode(f"me:{SECRET}".encode()).decode()
        is_known = self.headers["Authorization"] == f"Basic {expected}"
        self.send_response(200 if is_known and self.path == "/health" else 401)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Guard) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def find(what: str) -> Finding:
    return next(finding for finding in find_all() if finding.what == what)


def test_credentials_are_sent_and_not_shown(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:{port}/")
    assert find("MLflow") == Finding("MLflow", "ok", f"http://127.0.0.1:{port}: answers")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}/")
    assert "status 401" in find("MLflow").found


@pytest.mark.parametrize(
    "address",
    [
        f"http://user:{SECRET}@host.invalid/",
        f"http://user:{SECRET}@127.0.0.1:9/",
        f"http://127.0.0.1:{SECRET}/",
        f"http://user:{SECRET}@[::1/",
        f"http://user:{SECRET}@ho st/",
    ],
)
def test_no_address_ends_in_a_traceback_with_its_secret(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert diagnose(as_json=True) == 1
    assert find("MLflow").state == "wrong"
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err


def test_a_server_that_does_not_speak_http_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert "does not answer" in find("MLflow").found
        thread.join()


def test_a_home_that_can_be_made_is_not_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_HOME", str(tmp_path))
    assert find("HONE_HOME").state == "ok"
    monkeypatch.setenv("HONE_HOME", str(tmp_path / "new" / "home"))
    assert find("HONE_HOME").state == "note"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "new").write_text("a file")
    assert find("HONE_HOME").state == "wrong"
