"""prefect.yaml says what it must, and its build step fills in what fits the pool."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from configs.errors import RequestError
from configs.load import load_config
from configs.paths import CLONE
from deployments.pools import POOLS
from deployments.steps import find_clone, load_preset
from flows.environment import HEARTBEATS
from tests.flows.running import ROOT


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8")))


def test_a_preset_is_filled_in_with_overrides() -> None:
    filled = load_preset("tiny", {"training.max_steps": 3})
    assert filled["config"]["training"]["max_steps"] == 3
    assert filled["config"]["model"] == load_config("tiny").model_dump(mode="json")["model"]
    assert filled["clone"] == str(CLONE)


def test_several_gpus_need_the_pool_whose_workers_see_them() -> None:
    several = {"training.num_gpus": 4}
    with pytest.raises(RequestError, match="found 4 with the work pool gpu") as caught:
        load_preset("llama3-8b-lora", several)
    assert "pool: gpu-host" in caught.value.hint
    filled = load_preset("llama3-8b-lora", several, pool="gpu-host")
    assert filled["config"]["training"]["num_gpus"] == 4


def test_the_workers_clone_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_clone() == {"clone": str(CLONE)}
    monkeypatch.setenv("HONE_CLONE", "/opt/hone")
    assert find_clone() == {"clone": "/opt/hone"}


def test_every_deployment_goes_to_a_queue_that_is_made(declared: dict[str, Any]) -> None:
    queues = {pool.name: {"default", *(queue.name for queue in pool.queues)} for pool in POOLS}
    for row in declared["deployments"]:
        pool = row["work_pool"]
        assert pool.get("work_queue_name", "default") in queues[pool["name"]]
        assert not pool["job_variables"]["stream_output"]
        for name, value in HEARTBEATS.items():
            assert pool["job_variables"]["env"][name] == value
        assert "hone" in row["tags"]
        assert row["description"].endswith(".")
        assert "concurrency_limit" not in row  # a lease that a restarted server forgets
        for step in row["build"]:
            ((name, settings),) = step.items()
            host = pool["name"] == "gpu-host" and name.endswith("load_preset")
            assert not host or settings["pool"] == "gpu-host"


def test_schedules_are_off_and_say_their_time_zone(declared: dict[str, Any]) -> None:
    schedules = [*declared["definitions"]["schedules"].values()]
    schedules += [schedule for row in declared["deployments"] for schedule in row["schedules"]]
    for schedule in schedules:
        assert schedule["active"] is False
        assert schedule["timezone"]


def test_the_deployments_of_the_docs_are_those_of_the_file(declared: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for row in declared["deployments"]:
        flow = row["entrypoint"].rpartition(":")[2]
        assert f"`{flow}/{row['name']}`" in page
