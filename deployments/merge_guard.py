"""`make guard`: a server that lakeFS asks before a merge, and that refuses broken rows.

Run: python -m deployments.merge_guard PRESET [--host 127.0.0.1] [--port 8010]
Reads HONE_GUARD_TOKEN, LAKEFS_ENDPOINT, LAKEFS_ACCESS_KEY and LAKEFS_SECRET_KEY.
"""

from __future__ import annotations

import argparse
import hmac
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from configs.errors import RequestError
from configs.load import load_config
from deployments.command_line import run_command, say
from tasks.guard import Merge, MergeAnswer, MergeGuard
from tasks.records.runs import check_home
from tasks.watch import GUARD_PATH

TOKEN = "HONE_GUARD_TOKEN"  # noqa: S105 the variable's name
DEFAULT_PORT = 8010
MAX_BODY_BYTES = 1 << 16  # lakeFS tells of a merge in some hundred bytes, and its metadata
MAX_WAIT_SECONDS = 60.0
IDLE_SECONDS = 30  # of a client that sends nothing
STATUS = {
    "accepted": HTTPStatus.OK,
    "refused": HTTPStatus.PRECONDITION_FAILED,
    "failed": HTTPStatus.SERVICE_UNAVAILABLE,
}
LOG = logging.getLogger("hone")


class GuardServer(ThreadingHTTPServer):
    """The guard on its port.

    Args:
        host: The address; others than loopback need a token.
        port: The port; 0 takes a free one.
        guard: What answers.
        token: What clients must send; None: whoever reaches it may ask.

    Raises:
        RequestError: Others could reach it without a token, or the port is taken.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, guard: MergeGuard, token: str | None) -> None:
        if token is None and host not in {"127.0.0.1", "localhost"}:
            raise RequestError(
                where="--host",
                message=f"everybody who reaches {host} could ask the guard",
                allowed="127.0.0.1 without a token",
                hint=f"set {TOKEN}, and LAKEFSACTION_HONE_GUARD_TOKEN for the lakeFS server",
            )
        self.guard, self.token = guard, token
        try:
            super().__init__((host, port), GuardHandler)
        except OSError as err:
            raise RequestError(
                where="--port", message=f"{host}:{port} cannot be listened on ({err.strerror})",
                hint="name another port: make guard PORT=8011",
            ) from err  # fmt: skip


class GuardHandler(BaseHTTPRequestHandler):
    """Answers lakeFS; `?wait=SECONDS` has a merge that is still read answered with 202."""

    server: GuardServer
    timeout = IDLE_SECONDS
    server_version = "hone-guard"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    NEVER_KEPT: ClassVar = {"Connection": "close", "Cache-Control": "no-store"}

    def do_GET(self) -> None:
        """Say that the guard is there."""
        is_health = self.path == "/health"
        self._answer(HTTPStatus.OK if is_health else HTTPStatus.NOT_FOUND, "ok" * is_health)

    def do_POST(self) -> None:
        """Answer for a merge."""
        target = urlsplit(self.path)
        if target.path != GUARD_PATH:
            self._answer(HTTPStatus.NOT_FOUND, f"hone: POST {GUARD_PATH}")
        elif not self._is_allowed():
            self._answer(HTTPStatus.UNAUTHORIZED, "hone: refused: the token is missing or wrong")
        elif merge := self._read_merge():
            try:
                wait = _read_wait(target.query)
            except ValueError:
                self._answer(HTTPStatus.BAD_REQUEST, "hone: refused: wait is no number of seconds")
                return
            self._answer_for(merge, wait)

    def _answer_for(self, merge: Merge, wait_seconds: float | None) -> None:
        guard = self.server.guard
        if not guard.watches(merge):
            place = guard.place
            text = f"this guard answers for {place.ref} of {place.repository} alone"
            self._answer(HTTPStatus.NOT_FOUND, f"hone: refused: {text}")
            return
        answer = guard.ask(merge, wait_seconds)
        if answer is None:
            self._answer(HTTPStatus.ACCEPTED, "hone: the rows are being read; ask again")
        else:
            self._answer(STATUS[answer.outcome], answer)

    def _is_allowed(self) -> bool:
        if self.server.token is None:
            return True
        given = self.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self.server.token}".encode())

    def _read_merge(self) -> Merge | None:
        """Return what the body tells of a merge; answer where it is none."""
        kind = self.headers.get_content_type()
        length = self.headers.get("Content-Length", "")
        if kind != "application/json":  # a page in a browser may send anything else unasked
            self._answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "hone: refused: no application/json")
        elif not length.isdecimal():
            self._answer(HTTPStatus.LENGTH_REQUIRED, "hone: refused: no Content-Length")
        elif int(length) > MAX_BODY_BYTES:
            text = f"hone: refused: the body is larger than {MAX_BODY_BYTES} bytes"
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        else:
            try:
                return Merge.model_validate_json(self.rfile.read(int(length)))
            except ValidationError as err:
                first = err.errors(include_input=False, include_url=False)[0]
                name = ".".join(str(part) for part in first["loc"])
                text = f"hone: refused: no pre-merge event of lakeFS: {name} {first['msg']}"
                self._answer(HTTPStatus.BAD_REQUEST, text)
        return None

    def _answer(self, status: HTTPStatus, answer: str | MergeAnswer) -> None:
        is_text = isinstance(answer, str) or "text/plain" in self.headers.get("Accept", "")
        if isinstance(answer, str):
            content = answer
        else:
            content = answer.describe() if is_text else answer.model_dump_json()
        body = f"{content}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8" if is_text else
                         "application/json")  # fmt: skip
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.NEVER_KEPT.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the library's name
        """Write a line to hone's log."""
        LOG.debug("guard: " + format, *args)  # noqa: G003


def _read_wait(query: str) -> float | None:
    """Return the seconds that a client waits; None where it waits until the answer is there."""
    given = parse_qs(query).get("wait")
    return min(max(float(given[0]), 0.0), MAX_WAIT_SECONDS) if given else None


@contextmanager
def serve_guard(
    preset: str, host: str = "127.0.0.1", port: int = 0, token: str | None = None
) -> Iterator[GuardServer]:
    """Have a guard in the block, for the branch that a preset reads.

    Raises:
        RequestError: The preset reads no branch of lakeFS, or the port is taken.
    """
    guard = MergeGuard(load_config(preset).data)
    try:
        with GuardServer(host, port, guard, token) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()
    finally:
        guard.close()


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", help="its data.source names the branch, its data how to read")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: a free one")
    found = parser.parse_args(arguments)

    def command() -> None:
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        check_home()
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        token = os.environ.get(TOKEN) or None
        with serve_guard(found.preset, found.host, found.port, token) as server:
            place, (host, port) = server.guard.place, server.server_address[:2]
            say(
                f"guarding {place.ref} of {place.repository} at http://{host!s}:{port}; Ctrl-C ends"
            )
            say(f"hone data watch --repository {place.repository} --branch {place.ref} "
                f"--preset {found.preset} --guard http://{host!s}:{port}")  # fmt: skip
            stop.wait()

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
