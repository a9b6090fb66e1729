"""The set of plots of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.evaluation.intervals import Intervals
from tasks.evaluation.plots import plot_changes, plot_lengths, plot_loss, plot_metrics
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.report import list_changes
from tasks.records.handles import Arm


def draw_plots(
    folder: Path,
    *,
    intervals: Mapping[Arm, Intervals],
    predictions: Mapping[Arm, Mapping[str, Sequence[Prediction]]],
    history: Sequence[Mapping[str, Any]] = (),
    best_step: int | None = None,
    split: str = "test",
) -> dict[str, Path]:
    """Draw what there is to see of a run into a folder.

    Args:
        folder: Where the PNG files go.
        intervals: Each arm's metrics with bounds.
        predictions: Each arm's predictions by split.
        history: Logged records of the training.
        best_step: The step whose checkpoint was kept.
        split: The split to show.

    Returns:
        The files, by caption.
    """
    plots: dict[str, Path] = {}
    rows = {arm: found[split] for arm, found in predictions.items() if found.get(split)}
    bounds = {arm: found[split] for arm, found in intervals.items() if found.get(split)}
    if bounds and rows:
        plots["Metrics by arm"] = folder / "metrics.png"
        plot_metrics(
            plots["Metrics by arm"], bounds, split=split, num_rows=len(next(iter(rows.values())))
        )
    if history:
        plots["Loss"] = folder / "loss.png"
        plot_loss(plots["Loss"], history, best_step=best_step)
    for arm, changes in list_changes(predictions, split).items():
        caption = f"Won and lost against the {arm}"
        plots[caption] = folder / f"changes_{arm}.png"
        plot_changes(plots[caption], changes, opponent=arm, split=split)
    if any(row.num_new_tokens for found in rows.values() for row in found):
        plots["Answer lengths"] = folder / "lengths.png"
        plot_lengths(plots["Answer lengths"], rows, split=split)
    return plots
