"""How the real lakeFS runs the hooks of `hone data watch`: their keys, and what they may not do."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from configs.errors import RequestError
from configs.load import load_config
from deployments import lakefs_server
from deployments.lakefs_server import Keys, find_server, serve_lakefs
from tasks.watch import Guard, Trigger, render_guard, watch_branch
from tests.flows.running import make_row, wait_for
from tests.lakefs_server.fixture import ACCESS_KEY, SECRET_KEY, LakeFSServer

if TYPE_CHECKING:
    from lakefs.repository import Repository

ROWS = [make_row(f"Put {n} away.") for n in range(2)]


def put_rows(repository: Repository, branch: str, content: str, path: str) -> str:
    """Commit a file to a branch; return the commit."""
    side = repository.branch(branch)
    side.object(path).upload(content.encode())
    return str(side.commit(f"add {path}").id)


def test_where_hooks_may_not_ask_others_the_guard_refuses_and_old_branches_are_not_guarded(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (program := find_server()):
        pytest.skip("needs the real server, which runs hooks: no lakefs on the PATH")
    make = lakefs_server.make_environment
    variable = "LAKEFS_ACTIONS_LUA_NET_HTTP_ENABLED"
    monkeypatch.setattr(
        lakefs_server, "make_environment", lambda *values: make(*values) | {variable: "false"}
    )
    keys = Keys(ACCESS_KEY, SECRET_KEY, "tests-only")
    with serve_lakefs(program, tmp_path / "lakefs", keys) as endpoint:
        server = LakeFSServer("real", endpoint, ACCESS_KEY, SECRET_KEY)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        repository = server.create_repository()
        repository.branch("old").create("main")
        put_rows(repository, "old", json.dumps(ROWS[0]), "rows/train.jsonl")
        config = load_config("tiny", [f"data.source=lakefs://{repository.id}/main/rows"])
        trigger = Trigger("retrain/nightly", "the-id", "http://127.0.0.1:9/api", False, config, {})
        guard = Guard("http://127.0.0.1:9", False)
        with pytest.raises(RequestError, match="module 'net/http' not found"):
            watch_branch(repository.id, "main", trigger, guard, "hone data watch")
        main = repository.branch("main")
        assert list(main.objects()) == []
        main.object("_lakefs_actions/guard.yaml").upload(render_guard("main", guard).encode())
        main.commit("the guard, past hone")
        repository.branch("new").create("main")
        put_rows(repository, "new", json.dumps(ROWS[1]), "rows/new.jsonl")
        with pytest.raises(Exception, match=r"net/http.* not found"):
            repository.branch("new").merge_into("main")
        repository.branch("old").merge_into("main")  # lakeFS takes the hooks of what is merged
        assert main.object("rows/train.jsonl").exists()


class Receiver(BaseHTTPRequestHandler):
    """Takes a request as Prefect does, and keeps it."""

    requests: ClassVar[list[tuple[str, str, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append((self.path, self.headers.get("Authorization", ""), body))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the library's name
        """Say nothing."""


def test_the_key_comes_from_the_servers_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (program := find_server()):
        pytest.skip("needs the real server, which runs hooks: no lakefs on the PATH")
    keys = Keys(ACCESS_KEY, SECRET_KEY, "tests-only")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:word")
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver,
        serve_lakefs(program, tmp_path / "lakefs", keys) as endpoint,
    ):
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        server = LakeFSServer("real", endpoint, ACCESS_KEY, SECRET_KEY)
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        repository = server.create_repository()
        config = load_config("tiny", [f"data.source=lakefs://{repository.id}/main/rows"])
        api = f"http://127.0.0.1:{receiver.server_address[1]}/api"
        trigger = Trigger("retrain/nightly", "the-id", api, True, config, {})
        put_rows(repository, "main", json.dumps(ROWS[0]), "rows/train.jsonl")
        watch_branch(repository.id, "main", trigger, None, "hone data watch")
        commit = put_rows(repository, "main", json.dumps(ROWS[1]), "rows/more.jsonl")
        wait_for(lambda: bool(Receiver.requests), "the hook", seconds=30)
        receiver.shutdown()
    [(path, authorization, body)] = Receiver.requests
    assert path == "/api/deployments/the-id/create_flow_run"
    assert authorization == "Basic YWRtaW46d29yZA=="
    assert body["idempotency_key"] == f"the-id-{commit}"
