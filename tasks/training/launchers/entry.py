"""One process of a launched training: what it does, from its request to its result.

Started by torchrun as `python -m tasks.training.launchers.entry FOLDER`; Ray calls `train_rank`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from tasks.training.devices import Device, detect_device
from tasks.training.launchers.events import EventWriter
from tasks.training.launchers.lifeline import PARENT_VARIABLE, follow
from tasks.training.launchers.outcome import EVENTS, JOB, record_error, write_result
from tasks.training.launchers.request import read_request
from tasks.training.ranks import find_rank, is_first, join_group, leave_group
from tasks.training.train import train_model

LOG = logging.getLogger("hone")
TERMINATED = 128 + signal.SIGTERM


def main() -> None:
    """Train one rank in a process of its own."""
    folder = Path(sys.argv[1])
    follow(int(os.environ.get(PARENT_VARIABLE, os.getppid())))
    signal.signal(signal.SIGTERM, _end)
    rank = int(os.environ["RANK"])
    (folder / f"rank-{rank}.pid").write_text(str(os.getpid()), encoding="utf-8")
    device = detect_device()
    with record_error(folder, rank):
        join_group(device.kind)
        train_rank(folder, device)
    leave_group()


def train_rank(folder: Path, device: Device) -> None:
    """Do the part of one process of a group in the training that a folder asks for.

    Args:
        folder: Holds the request; gets the result, and what the first process reports.
        device: What this process trains on.
    """
    if device.kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    request = read_request(folder / JOB)
    with _report(folder) as observer:
        result = train_model(**request.to_arguments(), device=device, observer=observer)
    if is_first():
        write_result(folder, result)


@contextmanager
def _report(folder: Path) -> Iterator[EventWriter | None]:
    """Give the first process its observer, and its log a way out; the others only warn."""
    if not is_first():
        LOG.setLevel(logging.WARNING)
        logging.basicConfig(format=f"rank {find_rank()}: %(message)s", force=True)
        yield None
        return
    writer = EventWriter(folder / EVENTS)
    LOG.setLevel(logging.INFO)
    LOG.addHandler(writer)
    try:
        yield writer
    finally:
        LOG.removeHandler(writer)
        writer.close()


def _end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of handlers
    sys.exit(TERMINATED)


if __name__ == "__main__":
    main()
