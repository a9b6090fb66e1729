"""The stand-in for a lakeFS server: the part of its API that hone uses, over real HTTP."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.lakefs_server import operations as ops
from tests.lakefs_server.faults import Fault, Faults
from tests.lakefs_server.model import Entry, Refusal
from tests.lakefs_server.objects import CHUNK_BYTES, ObjectStore
from tests.lakefs_server.routes import API, CONTENT, ROUTES, UPLOAD, match_route
from tests.lakefs_server.uploads import read_upload


class StandIn(ThreadingHTTPServer):
    """One server on a free loopback port."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, keys: dict[str, str], *, presign: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.keys = keys
        self.faults = Faults()
        self.lock = threading.RLock()
        self.state = ops.State(ObjectStore(folder, self.endpoint if presign else None))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about connections that were cut, on purpose or by the client."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: StandIn

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        """Log nothing."""

    def answer(self) -> None:
        """Answer a request of any method."""
        self.target = urlsplit(self.path)
        query = dict(parse_qsl(self.target.query, keep_blank_values=True))
        self.fault = self.server.faults.note(
            self.command, unquote(self.path), self.headers.get("Range", "")
        )
        try:
            if self.fault and self.fault.status:
                raise Refusal(self.fault.status, "injected")
            self.dispatch(self.target.path, query)
        except Refusal as refusal:
            self.drain()
            self.send_refusal(refusal)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def dispatch(self, path: str, query: dict[str, str]) -> None:
        """Find the operation and send what it answers."""
        if path in {"/_health", f"{API}/healthcheck"}:
            return self.send_json(200 if path == "/_health" else 204, None)
        if path.startswith("/store/"):
            return self.serve_store(path.removeprefix("/store/"), query)
        user = self.authenticate()
        path = path.removeprefix(API)
        if (names := match_route(CONTENT, path)) and self.command in {"GET", "HEAD"}:
            return self.serve_content(ops.Request(names, query, {}, user))
        if (names := match_route(UPLOAD, path)) and self.command == "POST":
            return self.receive_upload(ops.Request(names, query, {}, user))
        for (method, template), operation in ROUTES.items():
            if method == self.command and (names := match_route(template, path)) is not None:
                request = ops.Request(names, query, self.read_json(), user)
                with self.server.lock:
                    answer = operation(self.server.state, request)
                return self.send_json(answer.status, answer.value)
        raise Refusal(404, "invalid API endpoint")

    def authenticate(self) -> str:
        """Return the user whose keys came with the request."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            key, _, secret = base64.b64decode(value).decode().partition(":")
            if self.server.keys.get(key) == secret:
                return "admin"
        raise Refusal(401, "error authenticating request")

    def read_json(self) -> dict[str, Any]:
        """Return the request's JSON object; empty where there is no body."""
        content = self.drain()
        return cast("dict[str, Any]", json.loads(content)) if content else {}

    def drain(self) -> bytes:
        """Read what is left of the request's body, so that the connection can be used again."""
        if (
            self.command not in {"POST", "PUT", "DELETE"}
            or getattr(self, "is_drained", None) is self.headers
        ):
            return b""
        self.is_drained = self.headers
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def receive_upload(self, request: ops.Request) -> None:
        """Store an uploaded object in its branch's staging area."""
        self.is_drained = self.headers
        state = self.server.state
        with self.server.lock:
            repository = state.find(request.names["repository"])
            repository.find_branch(request.names["branch"])
            exists = request.query["path"] in repository.find_tree(request.names["branch"])
        stream, num_bytes, content_type = read_upload(cast("IO[bytes]", self.rfile), self.headers)
        address, checksum = state.objects.write(stream, num_bytes)
        if exists and self.headers.get("If-None-Match") == "*":
            raise Refusal(412, "path already exists")
        metadata = {
            name.lower().removeprefix("x-lakefs-meta-"): value
            for name, value in self.headers.items()
            if name.lower().startswith("x-lakefs-meta-")
        }
        entry = Entry(checksum, num_bytes, address, int(time.time()), content_type, metadata)
        with self.server.lock:
            answer = ops.stage_entry(state, request, entry)
        self.send_json(answer.status, answer.value)

    def serve_content(self, request: ops.Request) -> None:
        """Send an object's bytes, or the range that is asked for."""
        with self.server.lock:
            entry = ops.find_entry(self.server.state, request)
        file = self.server.state.objects.locate(entry.physical_address)
        if not file.exists():
            raise Refusal(410, "No data")
        self.send_file(file, etag=entry.checksum)

    def serve_store(self, name: str, query: dict[str, str]) -> None:
        """Read or write the store by a signed URL, as an object store does it."""
        objects = self.server.state.objects
        if query.get("signature") != objects.make_signature(name):
            raise Refusal(403, "signature does not match")
        file = objects.folder / name
        if self.command == "PUT":
            return self.receive_stored(file)
        if not file.exists():
            raise Refusal(404, "NoSuchKey")
        return self.send_file(file, etag="")

    def receive_stored(self, file: Path) -> None:
        """Store what was sent to a signed URL; a fault cuts the connection in the middle."""
        self.is_drained = self.headers
        stream, num_bytes = cast("IO[bytes]", self.rfile), int(self.headers["Content-Length"])
        if self.fault and self.fault.cut_after_bytes is not None:
            stream.read(min(num_bytes, self.fault.cut_after_bytes))
            self.close_connection = True
            return
        written, checksum = self.server.state.objects.write(stream, num_bytes)
        self.server.state.objects.locate(written).replace(file)
        self.send_json(200, None, {"ETag": f'"{checksum}"'})

    def send_file(self, file: Path, etag: str) -> None:
        """Send a file, or the range of it that is asked for."""
        size = file.stat().st_size
        start, end, status = 0, size, 200
        asked = "" if self.fault and self.fault.ignore_range else self.headers.get("Range", "")
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", asked):
            start, end = int(found[1]), min(size, int(found[2] or size - 1) + 1)
            status = 206
            if start >= size:
                raise Refusal(416, "Requested Range Not Satisfiable")
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Last-Modified", formatdate(file.stat().st_mtime, usegmt=True))
        self.send_header("Accept-Ranges", "bytes")
        if etag:
            self.send_header("ETag", f'"{etag}"')
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        if self.command == "GET":
            self.send_bytes(file, start, end)

    def send_bytes(self, file: Path, start: int, end: int) -> None:
        """Send a part of a file, with the fault that strikes it."""
        fault = self.fault or Fault()
        stop = end if fault.cut_after_bytes is None else min(end, start + fault.cut_after_bytes)
        with file.open("rb") as stream:
            stream.seek(start)
            while start < stop and (chunk := stream.read(min(CHUNK_BYTES, stop - start))):
                start += len(chunk)
                if fault.flip_byte and start == end:
                    chunk = chunk[:-1] + bytes([chunk[-1] ^ 1])
                self.wfile.write(chunk)
        if stop < end:
            self.wfile.flush()
            self.close_connection = True

    def send_refusal(self, refusal: Refusal) -> None:
        """Send an error as lakeFS does: a message in JSON, or nothing for a missing object."""
        headers = {}
        if self.fault and self.fault.retry_after_seconds is not None:
            headers["Retry-After"] = str(self.fault.retry_after_seconds)
        self.send_json(
            refusal.status, {"message": refusal.message} if refusal.message else None, headers
        )

    def send_json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        """Send a JSON value, or nothing for None; a text goes out as it is."""
        is_text = isinstance(value, str)
        text = value if is_text else "" if value is None else json.dumps(value)
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if is_text else "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        for name, header in (headers or {}).items():
            self.send_header(name, header)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)


@contextmanager
def serve_stand_in(
    folder: Path, keys: dict[str, str], *, presign: bool = False
) -> Iterator[StandIn]:
    """Run a stand-in until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    server = StandIn(folder, keys, presign=presign)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
