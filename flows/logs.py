"""What a person sees on the terminal: hone's own lines, and warnings of the libraries."""

from __future__ import annotations

import logging
import os
import sys
import warnings

LOGGER = "hone"
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")


def choose_logging() -> None:
    """Set Prefect's logging variables; call it before Prefect is imported.

    hone's lines go to the Prefect API, where the UI shows them; on the terminal Prefect itself only
    speaks up when something is wrong.
    """
    loggers = os.environ.get("PREFECT_LOGGING_EXTRA_LOGGERS", "")
    names = [name for name in loggers.split(",") if name]
    os.environ["PREFECT_LOGGING_EXTRA_LOGGERS"] = ",".join(dict.fromkeys([*names, LOGGER]))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    # `hone plan` and `hone evaluate` log without a flow run.
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")


def show_logs() -> None:
    """Print hone's lines on stderr; call it after Prefect has set up its own handlers.

    What ends a run is printed once, by the command line; Prefect would print it twice for each
    task with pages of traceback. The Prefect API still gets it all.
    """
    from prefect.logging.handlers import PrefectConsoleHandler

    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(_is_not_about_runs)
    # What a library will rename one day is nothing that a user of hone can act upon.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not any(type(handler) is logging.StreamHandler for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)


def _is_not_about_runs(record: logging.LogRecord) -> bool:
    return not record.name.startswith(RUN_LOGGERS)
