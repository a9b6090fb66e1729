"""The flow through a real Prefect server and a process worker, as a team runs it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import Cluster
from tests.flows.running import (
    ROOT,
    Outcome,
    list_runs,
    list_versions,
    make_row,
    wait_for,
    write_rows,
)


@pytest.fixture(scope="module")
def worker(cluster: Cluster) -> Iterator[Path]:
    """A worker of the pool `gpu`; its log."""
    with cluster.work("gpu") as log:
        yield log


def list_flow_runs(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the runs of `finetune`; others belong to other tests."""
    wanted = {"flows": {"name": {"any_": ["finetune"]}}}
    return list(cluster.ask("/flow_runs/filter", wanted))


def list_deployments() -> list[dict[str, Any]]:
    return list(yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"])


@pytest.mark.slow
def test_a_wrong_value_is_refused_when_the_run_is_requested(cluster: Cluster) -> None:
    config = json.dumps({"training": {"learning_rate": -1}})
    refused = cluster.call("deployment", "run", "finetune/tiny", "--param", f"config={config}")
    assert refused.returncode == 1
    assert "learning_rate" in refused.stdout + refused.stderr
    assert list_flow_runs(cluster) == []


@pytest.mark.slow
def test_deployments_depend_on_no_variable_of_who_deploys(cluster: Cluster) -> None:
    deployments = cluster.ask("/deployments/filter", {})
    assert len(deployments) == len(list_deployments())
    for row in deployments:
        (step,) = row["pull_steps"]
        assert step["prefect.deployments.steps.set_working_directory"]["directory"] == str(ROOT)
        assert "{{" not in json.dumps([row["pull_steps"], row["job_variables"], row["parameters"]])


@pytest.mark.slow
def test_a_run_on_a_worker_publishes(cluster: Cluster, worker: Path, preset: Path) -> None:
    data = preset.parent / "data"
    overrides = {
        "data.source": str(data),
        "data.group_by": None,
        "training.max_steps": 20,
        "training.num_sample_generations": 1,
        "evaluation.max_new_tokens": 8,
        "publish.name": "small",
    }
    run = cluster.call(
        "deployment", "run", "finetune/tiny", "--watch", "--param",
        f"overrides={json.dumps(overrides)}",
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr + worker.read_text(encoding="utf-8")
    (flow_run,) = list_flow_runs(cluster)
    assert flow_run["state"]["type"] == "COMPLETED"

    artifacts = {row["key"] for row in cluster.ask("/artifacts/latest/filter", {})}
    assert artifacts >= {
        "data-report", "sample-generations", "decision", "checks", "model-card", "report",
        "loss-curve", "train-progress",
    }  # fmt: skip
    lines = [row["message"] for row in cluster.ask("/logs/filter", {})]
    assert any(line.startswith("decide: better") for line in lines)

    assert list_versions(cluster.home) == ["1"]
    (folder,) = list_runs(cluster.home)
    assert (folder / "manifest.json").is_file()


@pytest.mark.long
@pytest.mark.slow
def test_a_model_is_scored_from_a_deployment(
    cluster: Cluster, worker: Path, preset: Path, published: Outcome
) -> None:
    model = next((published.home / "artifacts" / "models" / "small").glob("[0-9]*"))
    file = preset.parent / "data" / "eval" / "test.jsonl"
    run = cluster.call(
        "deployment", "run", "evaluate/default", "--watch", "--param", f"model={model}", "--param",
        f"data={file}", "--param", 'overrides={"evaluation.num_samples": 4}',
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr + worker.read_text(encoding="utf-8")
    wanted = {"artifacts": {"key": {"any_": ["evaluation"]}}}
    (table,) = cluster.ask("/artifacts/latest/filter", wanted)
    (row,) = json.loads(table["data"])
    assert row["set"] == "test.jsonl"
    assert row["exact_match"] == pytest.approx(1.0, abs=0.5)


@pytest.mark.slow
def test_drift_is_told_by_an_event_of_the_model(
    cluster: Cluster, published: Outcome, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(published.home, home, symlinks=True)
    rows = [make_row(f"Put the {n}th hat away.", "Later.") for n in range(40)]
    source = write_rows(tmp_path / "fresh.jsonl", rows)
    with cluster.work("cpu", HONE_HOME=str(home)) as log:
        run = cluster.call(
            "deployment", "run", "monitor/daily", "--watch", "--param", "name=small", "--param",
            f"source={source}",
        )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr + log.read_text(encoding="utf-8")
    wanted = {"filter": {"event": {"name": ["hone.drifted"]}, "order": "DESC"}}

    def list_events() -> list[dict[str, Any]]:
        found = cluster.ask("/events/filter", wanted)["events"]
        return [row for row in found if row["payload"].get("source") == "fresh.jsonl"]

    wait_for(lambda: bool(list_events()), "the event", seconds=60)
    (event,) = list_events()
    assert event["resource"]["prefect.resource.id"] == "hone.model.small"
    assert event["payload"]["version"] == "1"
    artifacts = {row["key"] for row in cluster.ask("/artifacts/latest/filter", {})}
    assert artifacts >= {"drift", "drift-metrics", "data-report"}
