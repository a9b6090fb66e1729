"""The automations on a real server: they fire for what is silent or crashed, and nothing else."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from deployments.automations import AFTER_CRASH, SILENCE, deploy_automations
from flows.recover import HEARTBEAT
from tests.cluster import Cluster
from tests.flows.running import wait_for

SHORT = timedelta(seconds=30)  # a busy machine sends a heartbeat every few seconds at best


def read_automations(cluster: Cluster) -> dict[str, Any]:
    rows = cluster.ask("/automations/filter", {})
    return {row["name"]: row for row in rows if row["name"].startswith("hone: a run")}


def start_run(cluster: Cluster, state: str, deployment: str = "finetune/tiny") -> str:
    """Return the id of a run in a state that no worker works on."""
    found = cluster.ask(f"/deployments/name/{deployment}")["id"]
    body = {
        "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": "2999-01-01T00:00Z"}}
    }
    run = str(cluster.ask(f"/deployments/{found}/create_flow_run", body)["id"])
    cluster.ask(f"/flow_runs/{run}/set_state", {"state": {"type": state}, "force": True})
    return run


def start_foreign_run(cluster: Cluster, state: str) -> str:
    """Return the id of a run of another project on the same server."""
    flow = cluster.ask("/flows/", {"name": "finetune"})["id"]
    body = {"flow_id": flow, "state": {"type": "PENDING"}, "tags": ["auto-resume"]}
    run = str(cluster.ask("/flow_runs/", body)["id"])
    cluster.ask(f"/flow_runs/{run}/set_state", {"state": {"type": state}, "force": True})
    return run


def beat(cluster: Cluster, run: str, tags: tuple[str, ...] = ("hone", "auto-resume")) -> None:
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": HEARTBEAT,
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [
            {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}
            for tag in tags
        ],
        "payload": {},
    }
    cluster.ask("/events", [event])  # type: ignore[arg-type]


def has_beaten(cluster: Cluster, run: str) -> bool:
    wanted = {"resource": {"id": [f"prefect.flow-run.{run}"]}, "event": {"name": [HEARTBEAT]}}
    return bool(cluster.ask("/events/filter", {"filter": wanted})["events"])


def list_recoveries(cluster: Cluster) -> list[str]:
    """Return which runs a recovery was started for."""
    wanted = {"flows": {"name": {"any_": ["recover"]}}}
    return [row["parameters"]["flow_run_id"] for row in cluster.ask("/flow_runs/filter", wanted)]


@pytest.mark.slow
def test_silent_and_crashed_runs_are_recovered_and_others_left_alone(cluster: Cluster) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: cluster.url}):
        asyncio.run(deploy_automations(silence=SHORT, start=SHORT, after_crash=SHORT))
    silent, alive, done = (start_run(cluster, "RUNNING") for _ in range(3))
    for run in (silent, alive, done):
        beat(cluster, run)
    # A heartbeat that arrived after the end would be looked into, and nothing found.
    wait_for(lambda: has_beaten(cluster, done), "the heartbeat", seconds=60)
    cluster.ask(f"/flow_runs/{done}/set_state", {"state": {"type": "COMPLETED"}})
    crashed, stuck = start_run(cluster, "CRASHED"), start_run(cluster, "PENDING")
    foreign = [start_foreign_run(cluster, state) for state in ("PENDING", "RUNNING", "CRASHED")]
    beat(cluster, foreign[1], ("auto-resume",))
    expected = {silent, crashed, stuck}
    names = ("silent", "alive", "done", "crashed", "stuck", "not submitted", "not silent", "theirs")
    started = dict(zip(names, (silent, alive, done, crashed, stuck, *foreign), strict=True))

    def look() -> bool:
        beat(cluster, alive)
        time.sleep(2)
        return set(list_recoveries(cluster)) >= expected

    wait_for(look, "the automations", seconds=180)
    recovered = list_recoveries(cluster)
    found = {name: recovered.count(run) for name, run in started.items() if run in recovered}
    assert found == {"silent": 1, "crashed": 1, "stuck": 1}  # each once, and no other
    for run in started.values():
        cluster.ask(f"/flow_runs/{run}", method="DELETE")
    for automation in read_automations(cluster).values():  # too impatient for other tests' runs
        cluster.ask(f"/automations/{automation['id']}", method="DELETE")


@pytest.mark.slow
def test_deployed_again_they_are_the_same_and_one_that_is_off_stays_off(cluster: Cluster) -> None:
    for _ in range(2):
        deployed = cluster.call_python("-m", "deployments.automations")
        assert deployed.returncode == 0, deployed.stderr
        rows = read_automations(cluster)
        assert len(rows) == 3
        assert rows["hone: a run has gone silent"]["trigger"]["within"] == SILENCE.total_seconds()
        crash = rows["hone: a run has crashed"]
        assert crash["trigger"]["within"] == AFTER_CRASH.total_seconds()
        cluster.ask(f"/automations/{crash['id']}", {"enabled": False}, method="PATCH")
    assert not crash["enabled"]


def emit_drift(cluster: Cluster, model: str) -> None:
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "hone.drifted",
        "resource": {"prefect.resource.id": f"hone.model.{model}"},
        "related": [],
        "payload": {},
    }
    cluster.ask("/events", [event])  # type: ignore[arg-type]


@pytest.mark.slow
def test_drift_starts_the_retraining_of_that_model_by_choice(cluster: Cluster) -> None:
    def list_retrainings() -> list[dict[str, Any]]:
        return list(cluster.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["retrain"]}}}))

    deployed = cluster.call_python("-m", "deployments.automations", "--on-drift", "retrain/nightly")
    assert deployed.returncode == 0, deployed.stderr
    assert "hone: flowroll-tiny has drifted" in deployed.stdout + deployed.stderr
    emit_drift(cluster, "another")
    emit_drift(cluster, "flowroll-tiny")
    wait_for(lambda: bool(list_retrainings()), "the retraining", seconds=120)
    time.sleep(5)
    [run] = list_retrainings()  # one, and none for the other model
    assert run["parameters"]["config"]["publish"]["name"] == "flowroll-tiny"
    cluster.ask(f"/flow_runs/{run['id']}", method="DELETE")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [("retrain/never", "is missing"), ("prune/weekly", "its form names no model")],
)
def test_what_cannot_answer_drift_is_refused(cluster: Cluster, name: str, words: str) -> None:
    deployed = cluster.call_python("-m", "deployments.automations", "--on-drift", name)
    assert deployed.returncode == 3
    assert words in deployed.stderr
