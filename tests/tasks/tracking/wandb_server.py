"""As much of a W&B server as a run needs: accounts, runs, history, files."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = {"id": "ZQ==", "name": "me"}
PROJECT = {"id": "cA==", "name": "demo", "entity": ENTITY}
RUN = {
    "id": "cg==", "name": "0123abcd", "displayName": "first", "description": "", "config": "{}",
    "sweepName": "", "project": PROJECT, "historyLineCount": 0,
}  # fmt: skip
VIEWER = {"id": "dg==", "username": "me", "entity": "me", "flags": "{}", "teams": {"edges": []}}


class WandbServer:
    """A server that can be stopped and started again at the same address.

    Attributes:
        history: The rows that arrived.
        requests: Every request's body.
        accepts_keys: Whether it knows who asks.
    """

    def __init__(self, *, accepts_keys: bool = True) -> None:
        self.history: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.accepts_keys = accepts_keys
        self._port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        handler = type("Handler", (Handler,), {"wandb": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a GraphQL request or a piece of a file stream."""
        operation, variables = request.get("operationName"), request.get("variables", {})
        if operation == "Viewer":
            return {"data": {"viewer": VIEWER}}
        if operation == "RunResumeStatus":
            return {"data": {"model": PROJECT | {"bucket": None}}}
        if operation == "UpsertBucket":
            return {"data": {"upsertBucket": {"bucket": RUN, "inserted": True}}}
        if operation == "CreateRunFiles":
            files = [{"name": n, "uploadUrl": f"{self.address}/x"} for n in variables["files"]]
            created = {"runID": RUN["id"], "uploadHeaders": [], "files": files}
            return {"data": {"createRunFiles": created}}
        stream = request.get("files", {}).get("wandb-history.jsonl", {})
        self.history += [json.loads(line) for line in stream.get("content", ())]
        return {}


class Handler(BaseHTTPRequestHandler):
    """Hands requests to the server."""

    wandb: WandbServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        text = body.decode(errors="replace")
        self.wandb.requests.append(text)
        known = self.wandb.accepts_keys
        refusal = {"errors": [{"message": "user is not logged in"}]}
        request = json.loads(text) if text.startswith("{") else {}
        answer = json.dumps(self.wandb.answer(request) if known else refusal).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.do_POST()

    def do_PUT(self) -> None:
        self.do_POST()

    def log_message(self, *args: object) -> None:
        pass
