"""`make workers`: the workers of this host, one for each GPU, kept running until Ctrl-C.

Run: python -m deployments.workers [gpu|gpu-host|cpu ...]
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from configs.errors import RequestError, RunError
from deployments.command_line import require_server, run_command, say
from deployments.gpus import list_gpus
from deployments.pools import CPU, GPU, GPU_HOST, POOLS, make_pools
from deployments.processes import stop_tree
from flows.embedded_server import PR_SET_PDEATHSIG
from flows.environment import HEARTBEATS
from flows.server_access import explain_answers
from tasks.records.home import find_home, find_project

CPU_RUNS = 4  # at once: they are short, or wait
SECONDS_BETWEEN_STARTS = 5.0
SECONDS_TO_STOP = 20.0
EVERY_PROCESS = HEARTBEATS | {"PREFECT_LOGGING_EXTRA_LOGGERS": "hone"}


@dataclass(frozen=True)
class Worker:
    """A worker of this host.

    Attributes:
        name: Unique among all workers of the server.
        pool: Whose runs it takes.
        limit: How many at once.
        variables: Of its environment, which its runs inherit.
    """

    name: str
    pool: str
    limit: int = 1
    variables: dict[str, str] = field(default_factory=dict)


def plan_workers(pools: Sequence[str], gpus: Sequence[str], host: str) -> list[Worker]:
    """Return the workers of a host.

    Args:
        pools: The pools to serve; `gpu` and `gpu-host` would share the GPUs, so only one of them.
        gpus: What CUDA_VISIBLE_DEVICES may name.
        host: The host's name.

    Raises:
        RequestError: No pool of ours, or both that use the GPUs.
    """
    known = [pool.name for pool in POOLS]
    if unknown := sorted(set(pools) - set(known)):
        raise RequestError(where="POOLS", message=f"found {unknown[0]!r}", allowed=", ".join(known))
    if {GPU, GPU_HOST} <= set(pools):
        raise RequestError(
            where="POOLS",
            message=f"{GPU} and {GPU_HOST} would give the same GPUs to two runs",
            allowed="one of them on a host",
        )
    return [worker for pool in dict.fromkeys(pools) for worker in _plan_pool(pool, gpus, host)]


def _plan_pool(pool: str, gpus: Sequence[str], host: str) -> list[Worker]:
    if pool == CPU:
        return [Worker(f"{host}-cpu", CPU, CPU_RUNS, {"CUDA_VISIBLE_DEVICES": ""})]
    if pool == GPU_HOST or not gpus:
        return [Worker(f"{host}-{pool}", pool)]
    return [
        Worker(f"{host}-gpu-{number}", GPU, 1, {"CUDA_VISIBLE_DEVICES": gpu})
        for number, gpu in enumerate(gpus)
    ]


async def set_limits(workers: Sequence[Worker]) -> None:
    """Let each pool that trains run as many at once as it has workers, here and on other hosts."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolUpdate
    from prefect.client.schemas.filters import WorkerFilter, WorkerFilterStatus

    online = WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))
    async with get_client() as client:
        for pool in sorted({worker.pool for worker in workers} - {CPU}):
            mine = {worker.name for worker in workers if worker.pool == pool}
            others = await client.read_workers_for_work_pool(pool, worker_filter=online)
            limit = len(mine | {worker.name for worker in others})
            await client.update_work_pool(pool, WorkPoolUpdate(concurrency_limit=limit))


async def find_missing(workers: Sequence[Worker]) -> list[str]:
    """Return the workers of this host that the server has not heard of lately."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import WorkerFilter, WorkerFilterStatus

    online = WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))
    async with get_client() as client:
        found = {
            worker.name
            for pool in {worker.pool for worker in workers}
            for worker in await client.read_workers_for_work_pool(pool, worker_filter=online)
        }
    return [worker.name for worker in workers if worker.name not in found]


def check_workers(pools: Sequence[str]) -> None:
    """Ask the server whether this host's workers are there.

    Raises:
        RunError: It has not heard of one lately.
    """
    workers = plan_workers(pools, list_gpus(), socket.gethostname())
    with explain_answers():
        missing = asyncio.run(find_missing(workers))
    if missing:
        raise RunError(
            message=f"the Prefect server has not heard of {', '.join(missing)} lately",
            hint="start them with `make workers`, or see their log",
        )


class Supervisor:
    """Keeps workers running; one that dies is started again.

    Args:
        workers: What to run.
        start: How to start one; by default, Prefect's own command.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        start: Callable[[Worker], subprocess.Popen[bytes]] | None = None,
    ) -> None:
        self._workers = workers
        self._start = start or start_worker
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, stop: threading.Event) -> None:
        """Run the workers until the event is set; then stop them."""
        try:
            while True:
                for worker in self._workers:
                    self._ensure(worker)
                if stop.wait(SECONDS_BETWEEN_STARTS):
                    return
        finally:
            for process in self._processes.values():
                stop_tree(process.pid, SECONDS_TO_STOP)

    def _ensure(self, worker: Worker) -> None:
        process = self._processes.get(worker.name)
        code = process.poll() if process else None
        if process and code is None:
            return
        if process:
            say(f"worker {worker.name} ended with code {code}; it is started again")
        self._processes[worker.name] = self._start(worker)


def start_worker(worker: Worker) -> subprocess.Popen[bytes]:
    """Start a worker that ends with this process."""
    command = [
        sys.executable, "-m", "prefect", "worker", "start", "--pool", worker.pool,
        "--name", worker.name, "--limit", str(worker.limit),
    ]  # fmt: skip
    environment = EVERY_PROCESS | dict(os.environ) | worker.variables
    environment["HONE_HOME"] = str(find_home())
    return subprocess.Popen(
        command, cwd=find_project(), env=environment, stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us, who stop them in order
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
    )  # fmt: skip


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def keep_workers(pools: Sequence[str]) -> None:
    """Make the pools where they are missing, and run this host's workers until a signal."""
    gpus = list_gpus()
    workers = plan_workers(pools, gpus, socket.gethostname())
    with explain_answers():
        asyncio.run(make_pools())
        asyncio.run(set_limits(workers))
    for worker in workers:
        seen = worker.variables.get("CUDA_VISIBLE_DEVICES", "all GPUs" if gpus else "no GPU")
        say(f"worker {worker.name}: pool {worker.pool}, {worker.limit} at once, {seen or 'no GPU'}")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    Supervisor(workers).run(stop)


def main(arguments: list[str] | None = None) -> int:
    """Run the workers; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pools", nargs="*", help=f"which pools to serve (default: {GPU} {CPU})")
    parser.add_argument("--check", action="store_true", help="only ask whether they are there")
    found = parser.parse_args(arguments)
    serve = check_workers if found.check else keep_workers

    def command() -> None:
        require_server()
        serve(found.pools or [GPU, CPU])

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
