"""A run that is over ends its process: nobody waits for the result, and the GPU is free again."""

from __future__ import annotations

import contextvars
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectException

from tasks.records.locks import find_lost_lock

LOG = logging.getLogger("hone")
SECONDS_BETWEEN_LOOKS = 30.0
SECONDS_TO_END = 60.0


@contextmanager
def end_with_run(seconds_between_looks: float = SECONDS_BETWEEN_LOOKS) -> Iterator[None]:
    """End this process when its flow run has ended elsewhere, or when it has lost a lock.

    The zombie automation calls a silent run crashed and has it run again; a process that comes
    back from a long pause would then work beside its successor. It is sent SIGTERM, which lets a
    training save; where it does not end by that, it is ended a minute later.
    """
    context = FlowRunContext.get()
    assert context is not None, "called inside a flow"
    assert context.flow_run is not None
    run = context.flow_run
    done = threading.Event()

    def watch() -> None:
        while not done.wait(seconds_between_looks):
            if reason := explain_end(run.id, run.run_count):
                LOG.error("%s: this process ends", reason)
                os.kill(os.getpid(), signal.SIGTERM)
                if not done.wait(SECONDS_TO_END):
                    os._exit(128 + signal.SIGTERM)
                return

    # Prefect's settings, the server's address among them, belong to the context, not the process.
    surroundings = contextvars.copy_context()
    threading.Thread(
        target=surroundings.run, args=(watch,), name="end-with-run", daemon=True
    ).start()
    try:
        yield
    finally:
        done.set()


def explain_end(flow_run_id: UUID, run_count: int) -> str:
    """Return why a process should no longer work on a flow run, or an empty string.

    Args:
        flow_run_id: The flow run.
        run_count: Which of its attempts this process is.
    """
    if lost := find_lost_lock():
        return f"the lock {lost} was taken away"
    try:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return "this flow run was deleted"
    except (PrefectException, httpx.HTTPError, OSError):
        return ""  # a server that is away says nothing about the run
    if run.run_count > run_count:
        return f"this flow run was started again (attempt {run.run_count})"
    if run.state is not None and run.state.is_final():
        return f"this flow run is {run.state.name}"
    return ""
