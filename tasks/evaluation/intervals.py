"""Intervals of every metric of a model, by split, for tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tasks.evaluation.metrics import Metric, find_metric, has_metric
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.significance import Bounds, find_bounds, resample_sums, sum_groups

ALPHA = 0.025  # at each end

Intervals = Mapping[str, Mapping[str, Bounds]]
"""By split, then by metric."""


def bound_rows(
    rows: Sequence[Prediction],
    metrics: Iterable[str],
    *,
    num_resamples: int,
    seed: int,
    same_tokenizer: bool = True,
) -> dict[str, Bounds]:
    """Return the 95 % interval of each metric that the rows carry, groups resampled once."""
    found = [
        find_metric(name, same_tokenizer=same_tokenizer)
        for name in metrics
        if rows and has_metric(rows, name)
    ]
    if not found:
        return {}
    columns = [metric.collect_sums(rows) for metric in found]
    ends = np.cumsum([part.shape[1] for part in columns])[:-1]
    sums_GK = sum_groups(np.hstack(columns), [row.group for row in rows])
    resampled = np.split(resample_sums(sums_GK, num_resamples, seed), ends, axis=1)
    return {
        metric.name: clip_bounds(
            find_bounds(
                float(metric.combine(part.sum(axis=0))),
                metric.combine(drawn),
                alpha=ALPHA,
                num_groups=len(sums_GK),
            ),
            metric,
        )
        for metric, part, drawn in zip(found, columns, resampled, strict=True)
    }


def clip_bounds(bounds: Bounds, metric: Metric) -> Bounds:
    """Return bounds within what a metric can be."""
    return Bounds(bounds.value, max(bounds.lower, metric.lowest), min(bounds.upper, metric.highest))


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
