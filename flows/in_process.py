"""Run the pipeline in this process, on the embedded defaults or the configured servers."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from configs.schema import RunConfig
from flows.embedded_server import start_server, wait_until_healthy
from flows.environment import prepare_environment
from flows.logs import choose_logging, show_logs
from tasks.records.digests import digest_value
from tasks.records.home import find_home
from tasks.records.imports import pause_collection
from tasks.records.writing import write_text

HEAVY = ("torch", "transformers.trainer", "datasets", "peft", "mlflow", "rouge_score.rouge_scorer")
LIGHT_STAGES = ("version", "format")  # they need no model

if TYPE_CHECKING:
    from flows.results import RunResult, Stage


def run_in_process(config: RunConfig, until: Stage | None = None) -> RunResult:
    """Run the whole flow and return its outcome.

    Where no Prefect server is configured, one is brought along, with its state in HONE_HOME.

    Args:
        config: What to do, from `configs.load.load_config`.
        until: Stop after this stage; the next run goes on from there.

    Raises:
        RequestError: The request is wrong, and nothing was changed.
        RunError: The run failed on the way and can be started again.
    """
    prepare_environment()
    choose_logging()
    start_server()
    finished = find_marker(config, until)
    with pause_collection():
        if not finished.is_file() and until not in LIGHT_STAGES:
            import_libraries()
        from flows.finetune import finetune
        from tasks.tracking.store import start_preparation

    show_logs()
    wait_until_healthy()
    start_preparation()  # MLflow's database, while the first stages run
    result = finetune(config, until=until)
    write_text(finished, "")
    return result


def find_marker(config: RunConfig, until: Stage | None) -> Path:
    """Return the file that says that a run of this request has ended here before.

    It decides about imports alone: where it is missing, stages will compute, and what they need is
    imported while the Prefect server starts; where it is there, all may come from the cache.
    """
    request = digest_value([config.model_dump(mode="json"), until])
    return find_home() / "cache" / "requests" / request[:32]


def import_libraries() -> None:
    """Import what every stage that computes needs, while the Prefect server starts.

    Not in a thread: imports change the filters of warnings, for all threads.
    """
    for name in HEAVY:
        importlib.import_module(name)
