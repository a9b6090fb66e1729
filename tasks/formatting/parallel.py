"""Running jobs in processes of their own, answers in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from configs.errors import RunError

Job = TypeVar("Job")
Answer = TypeVar("Answer")

LEAST_BYTES = 16 << 20  # less is done before a process has imported what it needs
MAX_PROCESSES = 16  # each takes up to 300 MB


def count_processes(num_jobs: int, num_bytes: int) -> int:
    """Return how many processes to use: 1 means this one.

    Args:
        num_jobs: What they share.
        num_bytes: What all jobs read.
    """
    if num_bytes < LEAST_BYTES:
        return 1
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(cores, num_jobs, MAX_PROCESSES)


def run_jobs(
    function: Callable[[Job], Answer], jobs: Sequence[Job], num_processes: int
) -> Iterator[Answer]:
    """Yield the answer to each job, in order.

    Args:
        function: A function of a module; it is imported afresh in each process.
        jobs: What it is called with.
        num_processes: How many at a time; with 1 it is called here.

    Raises:
        RunError: A process was killed.
    """
    if num_processes == 1:
        yield from map(function, jobs)
        return
    # Spawned, not forked: this process may have threads (Prefect's, the tokenizer's).
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_processes, context, initializer=start_worker)
    try:
        yield from _keep_busy(pool, function, jobs, ahead=2 * num_processes)
    except BrokenProcessPool as err:
        raise RunError(
            message="a formatting process was ended from outside (is the memory full?)",
            hint="run the same command again: it goes on with the parts that are done",
        ) from err
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """Prepare a process for one thread of work, without what it does not need."""
    # A tokenizer needs no PyTorch, which takes 0.6 GB and 3 seconds in each process.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # nor need it say so
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import pyarrow as pa

    pa.set_cpu_count(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends the pool
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _keep_busy(
    pool: ProcessPoolExecutor,
    function: Callable[[Job], Answer],
    jobs: Sequence[Job],
    ahead: int,
) -> Iterator[Answer]:
    """Submit a few jobs ahead of the one that is waited for."""
    waiting: deque[Future[Answer]] = deque()
    for job in jobs:
        waiting.append(pool.submit(function, job))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)
