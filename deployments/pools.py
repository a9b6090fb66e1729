"""`make pools`: the work pools and queues that prefect.yaml names, made as often as one likes.

Run: python -m deployments.pools [--type process|docker|kubernetes]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from deployments.command_line import require_server, run_command, say
from flows.server_access import explain_answers

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

GPU, GPU_HOST, CPU = "gpu", "gpu-host", "cpu"
TYPES = ("process", "docker", "kubernetes")
TEMPLATES = Path(__file__).parent / "job_templates"


@dataclass(frozen=True)
class Queue:
    """A queue of a pool beside its default one.

    Attributes:
        name: Its name.
        priority: 1 is served first.
        limit: How many of its runs go on at once; None: as many as the pool takes.
    """

    name: str
    priority: int
    limit: int | None = None


@dataclass(frozen=True)
class Pool:
    """A work pool.

    Limits are the pool's and its queues', not the deployments': those are leases in the server's
    memory, and a server that is started again would cancel the runs that hold one.

    Attributes:
        name: Its name.
        description: What it is for.
        queues: Beside its default one.
        has_gpus: Whether its containers or pods ask for GPUs.
    """

    name: str
    description: str
    queues: tuple[Queue, ...] = ()
    has_gpus: bool = True


POOLS = (
    Pool(
        GPU,
        "One worker for each GPU, or one on a machine without. `make workers` sets its limit.",
        (Queue("scheduled", priority=2),),  # after what people wait for
    ),
    Pool(GPU_HOST, "One worker for all GPUs of a host: training.num_gpus above 1, large models."),
    Pool(
        CPU,
        "What needs no GPU: publish, rollback, prune, monitor, and what brings back dead runs.",
        (Queue("recovery", priority=1), Queue("publish", priority=2, limit=1)),
        has_gpus=False,
    ),
)


async def make_pools(pool_type: str = "process") -> None:
    """Make what is missing and set what differs; limits of pools stay as they are."""
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        for pool in POOLS:
            template = read_template(pool_type, has_gpus=pool.has_gpus)
            await _make_pool(client, pool, pool_type, template)
            for queue in pool.queues:
                await _make_queue(client, pool, queue)


def read_template(pool_type: str, *, has_gpus: bool = True) -> dict[str, Any]:
    """Return what the jobs of a pool are made from: Prefect's own, or the file of this folder.

    Args:
        pool_type: One of `TYPES`.
        has_gpus: Whether a job asks for GPUs; a process sees those of its worker.
    """
    if pool_type == "process":
        from prefect.workers.process import ProcessWorker

        return dict(ProcessWorker.get_default_base_job_template())
    text = (TEMPLATES / f"{pool_type}.yaml").read_text(encoding="utf-8")
    template = dict(yaml.safe_load(text))
    if not has_gpus:
        properties = template["variables"]["properties"]
        if pool_type == "docker":  # a host without GPUs refuses a request for none of them, too
            del template["job_configuration"]["container_create_kwargs"]["device_requests"]
            del properties["gpus"]
        else:
            properties["gpus"]["default"] = 0
    return template


async def _make_pool(
    client: PrefectClient, pool: Pool, pool_type: str, template: dict[str, Any]
) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    try:
        found = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        made = WorkPoolCreate(
            name=pool.name, description=pool.description, type=pool_type,
            base_job_template=template,
        )  # fmt: skip
        await client.create_work_pool(made)
        return
    if found.type != pool_type:
        say(f"work pool {pool.name} is of type {found.type} and stays so, not {pool_type}")
        return
    if (found.description, found.base_job_template) != (pool.description, template):
        changed = WorkPoolUpdate(description=pool.description, base_job_template=template)
        await client.update_work_pool(pool.name, changed)


async def _make_queue(client: PrefectClient, pool: Pool, queue: Queue) -> None:
    from prefect.exceptions import ObjectNotFound

    try:
        found = await client.read_work_queue_by_name(queue.name, work_pool_name=pool.name)
    except ObjectNotFound:
        found = await client.create_work_queue(queue.name, work_pool_name=pool.name)
    wanted = {"priority": queue.priority, "concurrency_limit": queue.limit}
    if {name: getattr(found, name) for name in wanted} != wanted:
        await client.update_work_queue(found.id, **wanted)


def main(arguments: list[str] | None = None) -> int:
    """Make the pools; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--type", choices=TYPES, default="process", help="where runs are started")
    pool_type = parser.parse_args(arguments).type

    def command() -> None:
        require_server()
        with explain_answers():
            asyncio.run(make_pools(pool_type))
        say(f"work pools: {', '.join(pool.name for pool in POOLS)}")

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
