"""Draw a run's plots and bound its metrics, once: before the report, or with it."""

from __future__ import annotations

import logging
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from configs.schema import RunConfig
from tasks.records.digests import digest_code, digest_file, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import Arm, Handle
from tasks.records.home import find_home
from tasks.records.results import StageResults
from tasks.records.writing import read_json, read_jsonl, write_json

if TYPE_CHECKING:
    from tasks.evaluation.significance import Bounds

LOG = logging.getLogger("hone")
PLOTS = "plots"
LENGTHS = "data/lengths.png"
INTERVALS = "intervals.json"


class Figures(Handle):
    """Plots and intervals of the evaluations of a run."""

    plots: tuple[tuple[str, str], ...]
    """Caption and file name of each plot, in the order of the report."""


def draw_figures(config: RunConfig, results: StageResults) -> Figures:
    """Return the figures of these results, from the cache where they were drawn before."""
    key = {
        "evaluations": {arm: e.digest for arm, e in sorted(results.arms.items())},
        "train": results.trained.digest if results.trained else None,
        "format": results.formatted.digest if results.formatted else None,
        "split": results.shown_split,
        "metrics": config.evaluation.metric_names,
        "max_length": config.training.max_length,
        "code": digest_code(
            "tasks.evaluation", "tasks.figures", "tasks.formatting.inspection.length_plot"
        ),
        "versions": find_versions("matplotlib"),
    }
    return reuse_or_build("figures", key, Figures, lambda entry: _build(config, results, entry))


def draw_early(config: RunConfig, results: StageResults) -> None:
    """Draw the figures while there is time; what fails here is tried again for the report."""
    try:
        draw_figures(config, results)
    except Exception as err:  # noqa: BLE001 - a plot must not stop a publication
        LOG.warning("the plots could not be drawn yet: %s", err)


def read_intervals(
    figures: Figures, config: RunConfig, results: StageResults
) -> dict[Arm, dict[str, dict[str, Bounds]]]:
    """Return the 95 % interval of each metric by arm and split, as the figures show it."""
    from tasks.evaluation.significance import Bounds

    stored = read_json(figures.folder / INTERVALS)
    metrics = config.evaluation.metric_names
    return {
        arm: {
            split: {name: Bounds(*found[name]) for name in metrics if name in found}
            for split, found in stored[arm].items()
        }
        for arm in results.arms
    }


def _build(config: RunConfig, results: StageResults, entry: Path) -> Figures:
    from tasks.evaluation.drawing import draw_plots
    from tasks.evaluation.intervals import bound_splits
    from tasks.evaluation.predictions import read_splits
    from tasks.formatting.inspection.length_plot import draw_lengths
    from tasks.formatting.inspection.lengths import read_lengths

    predictions = {arm: read_splits(e.folder) for arm, e in results.arms.items()}
    intervals = {
        arm: bound_splits(splits, config.evaluation.metric_names)
        for arm, splits in predictions.items()
    }
    trained = results.trained
    plots = draw_plots(
        entry / PLOTS,
        intervals=intervals,
        predictions=predictions,
        history=read_jsonl(trained.folder / "history.jsonl") if trained else (),
        best_step=trained.best_step if trained else None,
        split=results.shown_split,
    )
    if results.formatted:
        lengths = read_lengths(results.formatted.folder)
        draw_lengths(entry / LENGTHS, lengths, max_length=config.training.max_length)
    content = {
        arm: {
            split: {name: list(astuple(bounds)) for name, bounds in found.items()}
            for split, found in splits.items()
        }
        for arm, splits in intervals.items()
    }
    write_json(entry / INTERVALS, content)
    return Figures(
        path=entry.relative_to(find_home()).as_posix(),
        digest=digest_file(entry / INTERVALS),
        plots=tuple((caption, plot.name) for caption, plot in plots.items()),
    )
