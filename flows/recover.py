"""What an automation starts for a run that looks dead: look again, then call it so and rerun it."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.filters import (
    EventFilter,
    EventNameFilter,
    EventOccurredFilter,
    EventResourceFilter,
)
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Crashed
from pydantic import Field

LOG = logging.getLogger("hone")
LOG.setLevel(logging.INFO)

RERUN_TAG = "auto-resume"
HEARTBEAT = "prefect.flow-run.heartbeat"
# A heartbeat comes every 30 seconds, and a server keeps events for up to 5 before it writes them.
SECONDS_BETWEEN_LOOKS = 45
MAX_ATTEMPTS = 3
ALIVE = {StateType.RUNNING, StateType.CANCELLING, StateType.PENDING}


class Sign(NamedTuple):
    """What changes as long as a run's process lives: its state, attempt, and last heartbeat."""

    state_id: UUID | None
    run_count: int
    heartbeat_id: UUID | None


@flow(name="recover")
def recover(
    flow_run_id: UUID,
    max_attempts: Annotated[int, Field(ge=1)] = MAX_ATTEMPTS,
    seconds_between_looks: Annotated[float, Field(ge=0)] = SECONDS_BETWEEN_LOOKS,
) -> str:
    """End a run whose process is gone, and have a crashed one run again from its last checkpoint.

    It believes no event: it reads the run itself, twice where the run claims to be alive, and no
    clock is compared with another machine's. A healthy, finished, or already rescheduled run stays
    as it is, so that to start this twice does no harm.

    Requires: the Prefect server alone.

    Args:
        flow_run_id: The run that has gone silent or has crashed.
        max_attempts: How often a run is started in all; then it stays crashed.
        seconds_between_looks: How long a silent run is given to show that it lives; more than the
            30 seconds between two heartbeats.
    """
    with get_client(sync_client=True) as client:
        try:
            found = end_dead_run(client, flow_run_id, seconds_between_looks)
            if found == StateType.CRASHED.value:
                found = rerun_crashed(client, flow_run_id, max_attempts)
        except ObjectNotFound:
            found = "deleted"
    LOG.info("recover: flow run %s: %s", flow_run_id, found)
    return found


def end_dead_run(client: SyncPrefectClient, flow_run_id: UUID, seconds: float) -> str:
    """Return the run's state, after a silent one was called crashed (or cancelled, as asked)."""
    run = client.read_flow_run(flow_run_id)
    if run.state is None or run.state.type not in ALIVE:
        return name_state(run)
    before = read_sign(client, run)
    time.sleep(seconds)
    run = client.read_flow_run(flow_run_id)
    if run.state is None or run.state.type not in ALIVE:
        return name_state(run)
    if read_sign(client, run) != before:
        return f"{name_state(run)}, and alive"
    message = "Its process has sent no heartbeat; it is taken for dead."
    is_cancelling = run.state.type == StateType.CANCELLING
    ended: State = Cancelled(message=message) if is_cancelling else Crashed(message=message)
    # Not forced: a run that has ended by itself at this very moment keeps its own end.
    client.set_flow_run_state(flow_run_id, ended)
    return name_state(client.read_flow_run(flow_run_id))


def rerun_crashed(client: SyncPrefectClient, flow_run_id: UUID, max_attempts: int) -> str:
    """Schedule a crashed run again, where that is wanted and has not failed too often."""
    run = client.read_flow_run(flow_run_id)
    if run.deployment_id is None:
        return "crashed; no deployment could run it again"
    if RERUN_TAG not in run.tags:
        return f"crashed; without the tag {RERUN_TAG} it stays so"
    # One that dies before it is Running never raises its run_count.
    states = client.read_flow_run_states(flow_run_id)
    attempts = max(run.run_count, 1 + sum(state.name == "AwaitingRetry" for state in states))
    if attempts >= max_attempts:
        return f"crashed; it stays so after {attempts} attempts"
    message = f"Attempt {attempts + 1} of {max_attempts}, from the last checkpoint."
    client.set_flow_run_state(flow_run_id, AwaitingRetry(message=message), force=True)
    return f"scheduled again, attempt {attempts + 1} of {max_attempts}"


def read_sign(client: SyncPrefectClient, run: FlowRun) -> Sign:
    """Return what would have changed if the run's process lived."""
    now = datetime.now(UTC)
    heartbeats = EventFilter(
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
        # Wider than needed: the clocks of the machines may differ.
        occurred=EventOccurredFilter(since=now - timedelta(days=2), until=now + timedelta(days=2)),
    )
    page = client.read_events(heartbeats, limit=1)
    newest = page.events[0].id if page.events else None
    return Sign(run.state.id if run.state else None, run.run_count, newest)


def name_state(run: FlowRun) -> str:
    """Return the state's type: its name may be anything."""
    return run.state.type.value if run.state else "without a state"
