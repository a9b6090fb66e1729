from __future__ import annotations

import gzip
import os
from http.server import BaseHTTPRequestHandler

import pytest
import urllib3

from tasks.versioning.streaming import BUFFER_BYTES, iter_pieces
from tests.local_http import serve_http

BODY = os.urandom(2 * BUFFER_BYTES + 12_345)
PACKED = gzip.compress(b"kept as it is in the store")


class Answers(BaseHTTPRequestHandler):
    """Whole, chunked, packed and cut answers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        body = {"/packed": PACKED, "/empty": b""}.get(self.path, BODY)
        if self.path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 70_000):
                piece = body[start : start + 70_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if self.path == "/cut" else body)
        self.close_connection = self.path == "/cut"

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_every_sort_of_answer_is_read_as_it_was_sent_over_one_connection() -> None:
    wanted = {"/whole": BODY, "/chunked": BODY, "/packed": PACKED, "/empty": b"", "/more": BODY}
    with serve_http(Answers) as address, urllib3.PoolManager() as pool:
        for path, body in wanted.items():
            response = pool.request("GET", address + path, preload_content=False)
            assert b"".join(bytes(piece) for piece in iter_pieces(response)) == body
            response.release_conn()
        [connections] = [pool.connection_from_url(address)]
        assert connections.num_connections == 1


def test_a_lost_connection_is_no_end_of_the_body() -> None:
    with serve_http(Answers) as address, urllib3.PoolManager() as pool:
        response = pool.request("GET", f"{address}/cut", preload_content=False)
        pieces = iter_pieces(response)
        assert next(pieces) == BODY[:1000]
        with pytest.raises(urllib3.exceptions.HTTPError):
            next(pieces)
        response.close()
