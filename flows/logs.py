"""What a person sees on the terminal: hone's own lines, and warnings of the libraries."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from datetime import UTC, datetime

from configs.secret_values import HIDDEN, SECRET_VALUE, is_secret_name
from tasks.records.stage_fields import FIELDS

LOGGER = "hone"
MIN_SECRET_CHARACTERS = 6  # shorter values stand in any text by chance
OTHER_SECRETS = {"PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "LAKEFS_ACCESS_KEY"}
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
        handler.setFormatter(choose_format())
        logger.addHandler(handler)


def choose_format() -> logging.Formatter:
    """Return how lines are written: for people, or with HONE_LOG_FORMAT=json as JSON objects."""
    if os.environ.get("HONE_LOG_FORMAT") == "json":
        return JsonFormatter()
    return logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and the fields of the stage's line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        return json.dumps(line, ensure_ascii=False, default=str)


def hide_secrets() -> None:
    """Let no line of hone's hold a secret, whoever takes it: terminal, file or Prefect's API."""
    logger = logging.getLogger(LOGGER)
    if _hide_in_record not in logger.filters:
        logger.addFilter(_hide_in_record)


def _hide_in_record(record: logging.LogRecord) -> bool:
    """Replace what looks like a secret, or is the value of a variable that holds one."""
    message = record.getMessage()
    clean = SECRET_VALUE.sub(_hide_match, message)
    for value in list_secret_values():
        clean = clean.replace(value, HIDDEN)
    if clean != message:
        record.msg, record.args = clean, ()
    return True


def _hide_match(match: re.Match[str]) -> str:
    """Return what stands for a secret; of an address with a password the rest stays readable."""
    is_address = match[0].startswith("://")
    return f"{match[0].split(':', 2)[0]}://***@" if is_address else HIDDEN


def list_secret_values() -> list[str]:
    """Return the values of the environment's variables whose names say that they are secrets."""
    return [
        value
        for name, value in os.environ.items()
        if (is_secret_name(name) or name in OTHER_SECRETS) and len(value) >= MIN_SECRET_CHARACTERS
    ]


def _is_not_about_runs(record: logging.LogRecord) -> bool:
    return not record.name.startswith(RUN_LOGGERS)
