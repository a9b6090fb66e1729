"""Notifications on a real server: somebody is told, once for each thing that happened."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest

from configs.errors import RequestError
from deployments.notifications import deploy_notifications, make_blocks
from tests.cluster import Cluster
from tests.flows.running import wait_for

PAYLOAD = {
    "model": "small", "version": "3", "verdict": "better", "reason": "it is so", "look": 2,
    "decision": "d" * 64, "run": "outputs/runs/r", "link": "http://ui/runs/1", "uri": "",
    "source": "fresh.jsonl", "rows": 70,
}  # fmt: skip


class Receiver:
    """A local webhook that keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append(json.loads(body) | {"path": self.path})
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=s3cret"

    def find(self, words: str) -> list[dict[str, str]]:
        return [row for row in self.received if words in row["subject"]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def emit(cluster: Cluster, name: str) -> None:
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": f"hone.{name}",
        "resource": {"prefect.resource.id": "hone.model.small", "prefect.resource.name": "small"},
        "related": [],
        "payload": PAYLOAD,
    }
    cluster.ask("/events", [event])  # type: ignore[arg-type]


@pytest.mark.slow
def test_people_are_told_what_happened(cluster: Cluster, receiver: Receiver) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: cluster.url}):
        for _ in range(2):  # the second one changes nothing
            asyncio.run(deploy_notifications({"HONE_NOTIFY_WEBHOOK": receiver.url}))
    rows = [r for r in cluster.ask("/automations/filter", {}) if r["name"].startswith("hone: tell")]
    assert len(rows) == 5
    blocks = json.dumps(cluster.ask("/block_documents/filter", {}))
    assert "hone-webhook" in blocks
    assert "s3cret" not in blocks

    for name in ("published", "declined", "waiting", "drifted"):
        emit(cluster, name)
    deployment = cluster.ask("/deployments/name/finetune/tiny")["id"]
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2999-01-01T00:00Z"}}
    run = cluster.ask(f"/deployments/{deployment}/create_flow_run", {"state": state})
    failed = {"state": {"type": "FAILED", "message": "so it is"}, "force": True}
    cluster.ask(f"/flow_runs/{run['id']}/set_state", failed)

    words = (
        "small version 3 is published",
        "small is not published: better",
        "small waits for your approval",
        "small version 3 has drifted",
        f"finetune run {run['name']} has ended as Failed",
    )
    wait_for(lambda: all(receiver.find(w) for w in words), "the notifications", seconds=120)
    assert [len(receiver.find(w)) for w in words] == [1, 1, 1, 1, 1]
    [waiting] = receiver.find("waits")
    assert "hone publish outputs/runs/r --approve REASON --decision dddddddddddd" in waiting["body"]
    assert "http://ui/runs/1" in waiting["body"]
    [drifted] = receiver.find("has drifted")
    assert drifted["body"] == "it is so\n70 fresh rows of fresh.jsonl\nhttp://ui/runs/1"
    assert run["id"] in receiver.find("has ended")[0]["body"]
    assert {row["path"] for row in receiver.received} == {"/hook?token=s3cret"}
    cluster.ask(f"/flow_runs/{run['id']}", method="DELETE")


def test_a_channel_needs_all_of_its_variables() -> None:
    with pytest.raises(RequestError, match="it needs HONE_NOTIFY_EMAIL_FROM and SENDGRID_API_KEY"):
        make_blocks({"HONE_NOTIFY_EMAIL": "a@example.org"})
    block = make_blocks({
        "HONE_NOTIFY_EMAIL": "a@example.org, b@example.org", "SENDGRID_API_KEY": "k",
        "HONE_NOTIFY_EMAIL_FROM": "hone@example.org",
    })["hone-email"]  # fmt: skip
    assert block.to_emails == ["a@example.org", "b@example.org"]  # type: ignore[attr-defined]
    assert make_blocks({}) == {}
