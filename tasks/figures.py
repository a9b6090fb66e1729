"""Draw a run's plots and bound its metrics, once: before the report, or with it."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from configs.schema import RunConfig
from tasks.records.digests import digest_code, digest_file, find_versions
from tasks.records.entries import reuse_or_build
from tasks.records.handles import Arm, Evaluation, FormattedData, Handle, Record, TrainedModel
from tasks.records.home import find_home
from tasks.records.results import StageResults
from tasks.records.writing import read_json, read_jsonl, write_json

if TYPE_CHECKING:
    from tasks.evaluation.significance import Bounds

PLOTS = "plots"
LENGTHS = "data/lengths.png"
INTERVALS = "intervals.json"


class Figures(Handle):
    """Plots and intervals of the evaluations of a run."""

    plots: tuple[tuple[str, str], ...]
    """Caption and file name of each plot, in the order of the report."""


class Drawing(Record):
    """What the figures of a run are drawn from."""

    arms: dict[Arm, Evaluation]
    trained: TrainedModel | None
    formatted: FormattedData | None
    split: str
    """The split to show."""
    metrics: tuple[str, ...]
    max_length: int


def describe_drawing(config: RunConfig, results: StageResults) -> Drawing:
    """Return what the figures of these results are drawn from."""
    return Drawing(
        arms=results.arms,
        trained=results.trained,
        formatted=results.formatted,
        split=results.shown_split,
        metrics=tuple(config.evaluation.metric_names),
        max_length=config.training.max_length,
    )


def draw_figures(drawing: Drawing) -> Figures:
    """Return the figures of a run, from the cache where they were drawn before."""
    key = {
        "evaluations": {arm: e.digest for arm, e in sorted(drawing.arms.items())},
        "train": drawing.trained.digest if drawing.trained else None,
        "format": drawing.formatted.digest if drawing.formatted else None,
        "split": drawing.split,
        "metrics": drawing.metrics,
        "max_length": drawing.max_length,
        "code": digest_code(
            "tasks.evaluation", "tasks.figures", "tasks.formatting.inspection.length_plot"
        ),
        "versions": find_versions("matplotlib"),
    }
    return reuse_or_build("figures", key, Figures, lambda entry: _build(drawing, entry))


def read_intervals(figures: Figures, drawing: Drawing) -> dict[Arm, dict[str, dict[str, Bounds]]]:
    """Return the 95 % interval of each metric by arm and split, as the figures show it."""
    from tasks.evaluation.significance import Bounds

    stored = read_json(figures.folder / INTERVALS)
    return {
        arm: {
            split: {name: Bounds(*found[name]) for name in drawing.metrics if name in found}
            for split, found in stored[arm].items()
        }
        for arm in drawing.arms
    }


def _build(drawing: Drawing, entry: Path) -> Figures:
    from tasks.evaluation.drawing import draw_plots
    from tasks.evaluation.intervals import bound_splits
    from tasks.evaluation.predictions import read_splits
    from tasks.formatting.inspection.length_plot import draw_lengths
    from tasks.formatting.inspection.lengths import read_lengths

    predictions = {arm: read_splits(e.folder) for arm, e in drawing.arms.items()}
    intervals = {arm: bound_splits(splits, drawing.metrics) for arm, splits in predictions.items()}
    trained = drawing.trained
    plots = draw_plots(
        entry / PLOTS,
        intervals=intervals,
        predictions=predictions,
        history=read_jsonl(trained.folder / "history.jsonl") if trained else (),
        best_step=trained.best_step if trained else None,
        split=drawing.split,
    )
    if drawing.formatted:
        lengths = read_lengths(drawing.formatted.folder)
        draw_lengths(entry / LENGTHS, lengths, max_length=drawing.max_length)
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
