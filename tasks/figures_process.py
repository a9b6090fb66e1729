"""Draw a run's figures in a process of their own, beside the publication."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.figures import Drawing, draw_figures
from tasks.records.waiting_process import WaitingProcess, start_waiting

LOG = logging.getLogger("hone")
NEEDED = ("tasks.evaluation.drawing", "tasks.evaluation.intervals")


@contextmanager
def start_drawing() -> Iterator[WaitingProcess]:
    """Start the process; it imports while its caller has other work, and draws what it is asked.

    It is asked by the JSON of a `Drawing`. At the end of the block its figures are in the cache,
    where the report finds them; what fails here is tried again, and explained, for the report.
    """
    with start_waiting("tasks.figures_process") as waiting:
        yield waiting
        if waiting.is_asked and waiting.process.wait():
            LOG.warning("the plots could not be drawn yet: %s", waiting.read_log())


def main() -> None:
    """Import what drawing needs, then wait for a line and draw."""
    for name in NEEDED:
        importlib.import_module(name)
    if line := sys.stdin.readline():
        draw_figures(Drawing.model_validate_json(line))


if __name__ == "__main__":
    main()
