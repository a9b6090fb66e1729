"""Run the pipeline in this process, on the embedded defaults or the configured servers."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from configs.schema import RunConfig
from flows.embedded_server import be_watched, start_server, wait_until_healthy
from flows.environment import prepare_environment
from flows.logs import choose_logging, show_logs
from tasks.records.digests import digest_value
from tasks.records.home import find_home
from tasks.records.imports import NOT_NEEDED, leave_out, pause_collection
from tasks.records.writing import write_text

HEAVY = ("torch", "transformers.trainer", "datasets", "peft", "mlflow", "rouge_score.rouge_scorer")
LIGHT_STAGES = ("version", "format")  # they need no model

if TYPE_CHECKING:
    from flows.results import RunResult, Stage


def run_in_process(
    config: RunConfig, until: Stage | None = None, *, pilot: bool = False
) -> RunResult:
    """Run the whole flow and return its outcome.

    Where no Prefect server is configured, one is brought along, with its state in HONE_HOME.

    Args:
        config: What to do, from `configs.load.load_config`.
        until: Stop after this stage; the next run goes on from there.
        pilot: Train only a few steps, and forecast the whole run.

    Raises:
        RequestError: The request is wrong, and nothing was changed.
        RunError: The run failed on the way and can be started again.
    """
    finished = find_marker(config, until, pilot=pilot)
    is_heavy = not finished.is_file() and until not in LIGHT_STAGES
    with serve_flows("flows.finetune", is_heavy=is_heavy):
        from flows.finetune import finetune

        result = finetune(config, until=until, pilot=pilot)
    write_text(finished, "")
    return result


@contextmanager
def serve_flows(module: str, *, is_heavy: bool = True) -> Iterator[None]:
    """Have a Prefect server, logs and MLflow's database for the flows of a block.

    Args:
        module: Where the flow is, imported here while the server starts.
        is_heavy: Whether models are computed with; what that needs is imported while the server
            starts.
    """
    prepare_environment()
    choose_logging()
    start_server()
    with pause_collection():
        if is_heavy:
            import_libraries()
        importlib.import_module(module)
        from tasks.tracking.store import start_preparation

    show_logs()
    wait_until_healthy()
    start_preparation()  # MLflow's database, while the first stages run
    with be_watched():
        yield


def find_marker(config: RunConfig, until: Stage | None, *, pilot: bool = False) -> Path:
    """Return the file that says that a run of this request has ended here before.

    It decides about imports alone: where it is missing, stages will compute, and what they need is
    imported while the Prefect server starts; where it is there, all may come from the cache.
    """
    request = digest_value([config.model_dump(mode="json"), until, pilot])
    return find_home() / "cache" / "requests" / request[:32]


def import_libraries() -> None:
    """Import what every stage that computes needs, while the Prefect server starts.

    Not in a thread: imports change the filters of warnings, for all threads.
    """
    with leave_out(*NOT_NEEDED):
        for name in HEAVY:
            importlib.import_module(name)
