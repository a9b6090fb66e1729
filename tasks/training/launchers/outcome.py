"""How a launched training ended: its result or its error, as files beside its request."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.errors import HoneError, RequestError, RunError
from tasks.records.writing import read_json, write_json
from tasks.training.result import TrainingResult
from tasks.training.setting import MemoryRanOutError

LOG = logging.getLogger("hone")
JOB = "job.json"
EVENTS = "events.jsonl"
RESULT = "result.json"
LINES_SHOWN = 8


def write_result(folder: Path, result: TrainingResult) -> None:
    """Write a result, last, so that its existence means that the training is complete."""
    write_json(folder / RESULT, asdict(result) | {"history_path": str(result.history_path)})


def read_result(folder: Path) -> TrainingResult | None:
    """Return the result, or None where there is none."""
    if not (folder / RESULT).is_file():
        return None
    values = read_json(folder / RESULT)
    return TrainingResult(**values | {"history_path": Path(values["history_path"])})


@contextmanager
def record_error(folder: Path, rank: int) -> Iterator[None]:
    """Write the error that ends the block, for the process that launched this one."""
    try:
        yield
    except MemoryRanOutError:  # the setting is lowered already, and bounded there
        (folder / f"error-retry-{rank}").touch()
        raise
    except Exception as err:
        write_json(folder / f"error-{rank}.json", _describe(err))
        raise


def read_error(folder: Path, rank: int) -> HoneError | None:
    """Return the error that ended a process, or None where it left none."""
    path = folder / f"error-{rank}.json"
    if not path.is_file():
        return None
    record = read_json(path)
    kind = RequestError if record.pop("code") == RequestError.code else RunError
    return kind(**record | {"problems": tuple(record.get("problems", ()))})


def is_out_of_memory(folder: Path) -> bool:
    """Tell whether the processes ended to be started again with a leaner setting."""
    return any(folder.glob("error-retry-*"))


def _describe(err: Exception) -> dict[str, Any]:
    if isinstance(err, HoneError):
        return err.to_dict()
    lines = "".join(traceback.format_exception(err)).rstrip().splitlines()
    message = f"{type(err).__name__}: {err}"
    return RunError(message, problems=tuple(lines[-LINES_SHOWN:])).to_dict()
