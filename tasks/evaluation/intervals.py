"""Intervals of every metric of a model, by split, for tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tasks.evaluation.metrics import METRICS, has_metric
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.significance import Bounds, bound_metric

Intervals = Mapping[str, Mapping[str, Bounds]]
"""By split, then by metric."""


def bound_rows(
    rows: Sequence[Prediction], metrics: Iterable[str], *, num_resamples: int, seed: int
) -> dict[str, Bounds]:
    """Return the 95 % interval of each metric that the rows carry, groups resampled."""
    groups = [row.group for row in rows]
    return {
        name: bound_metric(
            METRICS[name].collect_sums(rows),
            groups,
            METRICS[name].combine,
            num_resamples=num_resamples,
            seed=seed,
        )
        for name in metrics
        if rows and has_metric(rows, name)
    }


def bound_splits(
    predictions: Mapping[str, Sequence[Prediction]],
    metrics: Sequence[str],
    *,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, dict[str, Bounds]]:
    """Return the 95 % interval of each metric on each split.

    Args:
        predictions: One model's predictions by split.
        metrics: Names of the metrics, in the order wanted.
        num_resamples: Bootstrap resamples of the groups.
        seed: Seed of the resampling.
    """
    return {
        split: bound_rows(rows, metrics, num_resamples=num_resamples, seed=seed)
        for split, rows in sorted(predictions.items())
    }
