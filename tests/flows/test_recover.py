"""What looks dead is looked at again: the healthy go on, the dead end, the crashed run again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Cancelling, Crashed, Pending, Running, State

from flows.recover import HEARTBEAT, RERUN_TAG, recover

pytestmark = pytest.mark.usefixtures("on_server")
QUICK = 0.2
LONG = 12.0  # a server writes events down every few seconds


@flow(name="watched")
def watched() -> None:
    """Stand for a training."""


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployment(client: SyncPrefectClient) -> UUID:
    flow_id = client.create_flow(watched)
    return client.create_deployment(flow_id, f"test-{uuid4().hex[:8]}", tags=["hone"])


def start(
    client: SyncPrefectClient, deployment: UUID, *states: State, tags: tuple[str, ...] = ()
) -> UUID:
    """Return a flow run that has gone through the states."""
    run = client.create_flow_run_from_deployment(deployment, tags=tags)
    for state in states:
        client.set_flow_run_state(run.id, state, force=True)
    return run.id


def read_type(client: SyncPrefectClient, run: UUID) -> str:
    state = client.read_flow_run(run).state
    assert state is not None
    return state.type.value


@pytest.mark.parametrize("state", [Running(), Pending()], ids=["running", "pending"])
def test_a_silent_run_is_crashed_and_runs_again(
    client: SyncPrefectClient, deployment: UUID, state: State
) -> None:
    run = start(client, deployment, state, tags=(RERUN_TAG,))
    assert recover(run, seconds_between_looks=QUICK).startswith("scheduled again")
    found = client.read_flow_run(run)
    assert found.state is not None
    assert found.state.name == "AwaitingRetry"
    # A second automation that fires for the same crash changes nothing.
    assert recover(run, seconds_between_looks=QUICK) == "SCHEDULED"
    assert client.read_flow_run(run).state == found.state


def test_a_run_that_shows_life_goes_on(
    client: SyncPrefectClient, deployment: UUID, server: str
) -> None:
    run = start(client, deployment, Running(), tags=(RERUN_TAG,))
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": HEARTBEAT,
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
    }
    threading.Timer(1, lambda: httpx.post(f"{server}/events", json=[event])).start()
    assert recover(run, seconds_between_looks=LONG) == "RUNNING, and alive"
    assert read_type(client, run) == "RUNNING"


def test_a_run_that_ends_meanwhile_keeps_its_end(
    client: SyncPrefectClient, deployment: UUID, server: str
) -> None:
    run = start(client, deployment, Running(), tags=(RERUN_TAG,))
    ended = {"state": {"type": "COMPLETED"}}
    path = f"{server}/flow_runs/{run}/set_state"
    threading.Timer(0.5, lambda: httpx.post(path, json=ended)).start()
    assert recover(run, seconds_between_looks=2) == "COMPLETED"
    assert read_type(client, run) == "COMPLETED"


def test_a_cancel_that_nobody_heard_is_done(client: SyncPrefectClient, deployment: UUID) -> None:
    run = start(client, deployment, Running(), Cancelling(), tags=(RERUN_TAG,))
    assert recover(run, seconds_between_looks=QUICK) == "CANCELLED"
    assert read_type(client, run) == "CANCELLED"


def test_a_crash_is_rerun_only_so_often(client: SyncPrefectClient, deployment: UUID) -> None:
    run = start(client, deployment, Running(), Crashed(), tags=(RERUN_TAG,))
    assert recover(run, max_attempts=1) == "crashed; it stays so after 1 attempts"
    assert recover(run, max_attempts=2) == "scheduled again, attempt 2 of 2"
    for state in (Running(), Crashed()):
        client.set_flow_run_state(run, state, force=True)
    assert recover(run, max_attempts=2) == "crashed; it stays so after 2 attempts"
    assert read_type(client, run) == "CRASHED"


def test_a_crash_without_the_tag_or_a_deployment_stays(
    client: SyncPrefectClient, deployment: UUID
) -> None:
    run = start(client, deployment, Running(), Crashed())
    assert "auto-resume" in recover(run)
    alone = client.create_flow_run(watched, state=Crashed(), tags=[RERUN_TAG])
    assert "no deployment" in recover(alone.id)
    assert read_type(client, run) == read_type(client, alone.id) == "CRASHED"
    assert recover(uuid4()) == "deleted"
