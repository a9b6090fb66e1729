"""The training loss since it was last logged, kept through interruptions."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from tasks.records.writing import read_json, write_json
from tasks.training.ranks import find_rank, sum_over_ranks


def name_file(rank: int) -> str:
    """Return the file that a process keeps its part in.

    >>> name_file(0), name_file(1)
    ('loss_window.json', 'loss_window_1.json')
    """
    return f"loss_window_{rank}.json" if rank else "loss_window.json"


class LossWindow:
    """Collects the loss of each micro-batch on the device, read only where the loss is logged.

    transformers forgets this sum when a training is interrupted between two logs, and would then
    log another mean than an uninterrupted training.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.losses: list[float | torch.Tensor] = []

    def add(self, step: int, loss: torch.Tensor) -> None:
        """Add the part that a micro-batch has in the loss of its optimiser step."""
        self.steps.append(step)
        self.losses.append(loss.detach())

    def read_mean(self) -> float:
        """Return the mean loss of the steps since the last time, and begin anew."""
        mean = sum_over_ranks([math.fsum(self._read())])[0] / len(set(self.steps))
        self.steps, self.losses = [], []
        return mean

    def write(self, checkpoint: Path) -> None:
        """Write what is not logged yet into a checkpoint."""
        write_json(
            checkpoint / name_file(find_rank()), {"steps": self.steps, "losses": self._read()}
        )

    def restore(self, checkpoint: Path) -> None:
        """Take over what was not logged when a checkpoint was written."""
        record = read_json(checkpoint / name_file(find_rank()))
        self.steps, self.losses = record["steps"], record["losses"]

    def _read(self) -> list[float]:
        on_device = [loss for loss in self.losses if isinstance(loss, torch.Tensor)]
        values = iter(torch.stack(on_device).tolist() if on_device else [])
        self.losses = [next(values) if isinstance(x, torch.Tensor) else x for x in self.losses]
        return [float(loss) for loss in self.losses]
