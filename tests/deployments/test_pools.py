from __future__ import annotations

from typing import Any

import pytest

from deployments.pools import POOLS
from tests.cluster import Cluster


def read_pools(cluster: Cluster) -> dict[str, Any]:
    pools = {row["name"]: row for row in cluster.ask("/work_pools/filter", {})}
    for name, row in pools.items():
        queues = cluster.ask(f"/work_pools/{name}/queues/filter", {})
        row["queues"] = {q["name"]: (q["priority"], q["concurrency_limit"]) for q in queues}
        row.pop("updated")
        row.pop("status")
    return pools


@pytest.mark.slow
def test_pools_are_made_once_and_mended(cluster: Cluster) -> None:
    made = read_pools(cluster)
    for pool in POOLS:
        assert made[pool.name]["type"] == "process"
        for queue in pool.queues:
            assert made[pool.name]["queues"][queue.name] == (queue.priority, queue.limit)
    queue = cluster.ask("/work_pools/cpu/queues/publish")
    cluster.ask(f"/work_queues/{queue['id']}", {"concurrency_limit": 9}, method="PATCH")
    cluster.ask("/work_pools/cpu", {"description": "changed"}, method="PATCH")
    again = cluster.call_python("-m", "deployments.pools", "--type", "docker")
    assert again.returncode == 0, again.stderr
    assert "is of type process and stays so" in again.stdout
    assert read_pools(cluster)["cpu"]["queues"] == made["cpu"]["queues"]
    assert cluster.call_python("-m", "deployments.pools").returncode == 0
    assert read_pools(cluster) == made


@pytest.mark.parametrize("module", ["pools", "workers", "automations"])
def test_without_a_server_nothing_is_started(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    import importlib

    monkeypatch.setenv("PREFECT_API_URL", "")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", [module])
    assert importlib.import_module(f"deployments.{module}").main() == 3
    assert "PREFECT_API_URL: no Prefect server is configured" in capsys.readouterr().err
