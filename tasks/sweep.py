"""What a sweep makes better, what it is called, and what it leaves: table, preset, MLflow run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from configs.errors import RequestError
from configs.load import apply_overrides, dump_config
from configs.metrics import DEFAULT_METRICS, UNDECIDED
from configs.preset_files import dump_preset
from configs.schema import RunConfig
from configs.search_space import Space
from tasks.evaluation.metrics import find_metric
from tasks.evaluation.tables import render_table
from tasks.records.digests import digest_value
from tasks.records.handles import FormattedData, Record
from tasks.records.writing import write_json, write_text
from tasks.search import Direction, TrialRecord, find_best, list_trials, open_study
from tasks.tracking.runs import (
    finish_run,
    log_artifacts,
    log_metrics,
    log_params,
    open_run,
    set_tags,
)
from tasks.trial import VALIDATION_LOSS, SweepInputs

LOG = logging.getLogger("hone")
BEST = "best.yaml"
NOT_SEARCHED = {"purpose", "gate", "publish", "tracking"}
"""Sections that change no trial."""


@dataclass(frozen=True)
class Objective:
    """What a sweep makes better.

    Attributes:
        metric: A metric's name, or `eval_loss`.
        direction: Which values are better.
    """

    metric: str
    direction: Direction

    @property
    def is_validation_loss(self) -> bool:
        """Whether it is the training's own loss on `validation`, for which nothing is generated."""
        return self.metric == VALIDATION_LOSS


class SweepResult(Record):
    """What a sweep found."""

    name: str
    path: str
    """Relative to HONE_HOME."""
    metric: str
    split: str
    """What was scored; never `test`."""
    direction: str
    trials: tuple[TrialRecord, ...]
    best: TrialRecord | None
    """None where no trial was complete."""
    preset: str | None
    """The best settings as a preset, relative to HONE_HOME."""


def choose_objective(
    metric: str | None, direction: str | None, formatted: FormattedData, config: RunConfig
) -> Objective:
    """Return what a sweep makes better; by default what decides at the gate.

    Raises:
        RequestError: There is no such metric, it is not computed, or it has another direction.
    """
    metric = metric or formatted.primary_metrics[0]
    allowed = (VALIDATION_LOSS, *DEFAULT_METRICS, *config.evaluation.metric_names)
    allowed = tuple(name for name in dict.fromkeys(allowed) if name not in UNDECIDED)
    if metric not in allowed:
        raise RequestError(f"found {metric}", where="--metric", allowed=", ".join(allowed))
    if metric != VALIDATION_LOSS and metric not in config.evaluation.metric_names:
        raise RequestError(
            f"{metric} is not computed", where="evaluation.metrics", hint="add it to the list"
        )
    if metric == VALIDATION_LOSS and config.training.eval_strategy == "no":
        raise RequestError(
            "eval_loss is not measured", where="training.eval_strategy", allowed="steps, epoch"
        )
    is_more = metric != VALIDATION_LOSS and find_metric(metric).higher_is_better
    own: Direction = "maximize" if is_more else "minimize"
    if direction not in {None, own}:
        raise RequestError(
            f"found {direction}, which makes {metric} worse", where="--direction", allowed=own
        )
    return Objective(metric, own)


def name_sweep(
    config: RunConfig,
    space: Space,
    objective: Objective,
    formatted: FormattedData,
    split: str,
    seed: int,
) -> str:
    """Return the name by which the same request finds the sweep again."""
    sets = ("train", "validation", split)
    key = {
        "config": config.model_dump(mode="json", exclude=NOT_SEARCHED),
        "space": [dimension.describe() for dimension in space],
        "objective": [objective.metric, objective.direction],
        "data": {name: formatted.splits[name].digest for name in sets if name in formatted.splits},
        "seed": seed,
    }
    return f"{config.publish.name}-{digest_value(key)[:8]}"


def start_sweep(inputs: SweepInputs, space: Space) -> None:
    """Open the sweep's run in MLflow, so that the trials' runs can stand below it."""
    tracked = open_run(inputs.config.tracking.project, inputs.family.name)
    shown = {d.key: [d.kind, *(d.values or (d.low, d.high))] for d in space}
    log_params(tracked, {"metric": inputs.metric, "split": inputs.split, "space": shown})
    set_tags(tracked, {"hone.kind": "sweep"})


def write_sweep(inputs: SweepInputs, space: Space, preset: str | None) -> SweepResult:
    """Write the trials, and the best settings as a preset.

    Args:
        inputs: What the trials have in common.
        space: What varied.
        preset: What the best preset extends; None: it stands alone.
    """
    family = inputs.family
    study = open_study(family.folder, family.name, inputs.direction)
    trials = list_trials(study, space)
    best = find_best(trials, inputs.direction)
    result = SweepResult(
        name=family.name,
        path=family.path,
        metric=inputs.metric,
        split=inputs.split,
        direction=inputs.direction,
        trials=tuple(trials),
        best=best,
        preset=f"{family.path}/{BEST}" if best else None,
    )
    if best:
        config = apply_overrides(inputs.config, best.params)
        text = dump_preset(config, preset) if preset else dump_config(config)
        write_text(family.folder / BEST, describe_best(result, best) + text)
    write_json(family.folder / "sweep.json", result.model_dump(mode="json"))
    write_text(family.folder / "report.md", render_sweep(result))
    create_markdown_artifact(render_sweep(result), key="sweep")
    return result


def describe_best(result: SweepResult, best: TrialRecord) -> str:
    """Return the head of the best preset: where it comes from."""
    return (
        f"# Trial {best.number}, the best of {len(result.trials)} of the sweep {result.name}: "
        f"{result.metric} {best.value:.6g} on {result.split}.\n"
        "# Chosen without the test set: run it, and the gate decides.\n"
    )


def list_columns(result: SweepResult) -> list[str]:
    """Return the head of the trials' table."""
    return ["trial", *list_keys(result), f"{result.metric} on {result.split}", "state", "seconds"]


def list_keys(result: SweepResult) -> list[str]:
    """Return what varied, by dotted key."""
    return sorted({key for trial in result.trials for key in trial.params})


def list_rows(result: SweepResult) -> list[list[str]]:
    """Return a line of the table for each trial."""
    return [
        [
            f"{trial.number}{' (best)' if trial == result.best else ''}",
            *(show_value(trial.params.get(key, "")) for key in list_keys(result)),
            "" if trial.value is None else f"{trial.value:.6g}",
            f"failed: {trial.reason}" if trial.reason else trial.state,
            f"{trial.seconds:.0f}",
        ]
        for trial in result.trials
    ]


def show_value(value: Any) -> str:
    """Return a setting as a table shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def render_sweep(result: SweepResult) -> str:
    """Return the sweep as a Markdown page."""
    table = render_table(list_columns(result), list_rows(result))
    words = f"{result.direction} {result.metric} on {result.split}; `test` was not read."
    return f"# Sweep {result.name}\n\n{words}\n\n{table}\n"


def track_sweep(inputs: SweepInputs, result: SweepResult) -> None:
    """Record the best value, the table and the preset in the sweep's run."""
    tracked = open_run(inputs.config.tracking.project, inputs.family.name)
    if result.best and result.best.value is not None:
        log_metrics(tracked, {f"best/{result.metric}": result.best.value})
    folder = inputs.family.folder
    files = [folder / name for name in ("report.md", "sweep.json", BEST)]
    log_artifacts(tracked, [file for file in files if Path(file).is_file()])
    finish_run(tracked)
