"""Means of what TRL measures, exact whatever the micro-batches."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from tasks.records.writing import read_json, write_json
from tasks.training.objectives.batches import Batch

# What says how the training goes; means over tokens of a batch and counts since the start of the
# process are left out: they would depend on the batches and on interruptions.
KEPT = (
    "rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins",
    "logps/chosen", "logps/rejected", "kl", "log_odds_ratio",
)  # fmt: skip
FILE = "preference_means.json"


class MetricMeans:
    """Adds up the metrics of micro-batches, each weighed by the answers that it is the mean of."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, metrics: dict[str, Any], batch: Batch) -> None:
        """Count the metrics of one micro-batch; those that are not kept are passed over."""
        for name in metrics.keys() & set(KEPT):
            self.sums[name] += float(metrics[name]) * batch.count(name)
            self.counts[name] += batch.count(name)

    def take(self, prefix: str = "") -> dict[str, float]:
        """Return the means since the last time, sorted by name, and begin anew."""
        means = {n: self.sums[n] / self.counts[n] for n in sorted(self.sums) if self.counts[n]}
        if {"rewards/chosen", "rewards/rejected"} <= means.keys():
            # Of labelled answers a batch may hold one kind only: its own margin says nothing.
            means["rewards/margins"] = means["rewards/chosen"] - means["rewards/rejected"]
        self.sums.clear()
        self.counts.clear()
        return {f"{prefix}{name}": value for name, value in means.items()}

    def write(self, checkpoint: Path) -> None:
        """Write what is not logged yet into a checkpoint."""
        write_json(checkpoint / FILE, {"sums": self.sums, "counts": self.counts})

    def restore(self, checkpoint: Path) -> None:
        """Take over what was not logged when a checkpoint was written."""
        record = read_json(checkpoint / FILE)
        self.sums = defaultdict(float, record["sums"])
        self.counts = defaultdict(int, record["counts"])
