"""Try one set of settings: train, stop early where it will not do, score."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs.errors import HoneError, RunError
from configs.load import apply_overrides, dump_config
from configs.schema import RunConfig
from tasks.evaluate import evaluate_splits
from tasks.format import format_version
from tasks.observe import TaskObserver
from tasks.pilot import plan_whole
from tasks.records.families import open_member
from tasks.records.handles import DataVersion, FormattedData, Record, TrainedModel
from tasks.records.runs import RunFolder
from tasks.records.writing import read_jsonl
from tasks.search import REASON, Direction, Pruner
from tasks.track import track
from tasks.tracking.runs import finish_run, log_metrics, set_tags
from tasks.train import train_candidate
from tasks.training.stopping import TrainingStopped

if TYPE_CHECKING:
    import optuna

LOG = logging.getLogger("hone")
VALIDATION_LOSS = "eval_loss"  # of the training itself: nothing needs to be generated for it


@dataclass(frozen=True)
class SweepInputs:
    """What all trials of a sweep have in common.

    Attributes:
        config: What the trials' settings are laid over.
        data: The data version.
        formatted: The data as `config` formats it.
        family: The sweep's folder.
        metric: What is made better: a metric of `split`, or `eval_loss`.
        split: The set that is scored.
        direction: Which values are better.
    """

    config: RunConfig
    data: DataVersion
    formatted: FormattedData
    family: RunFolder
    metric: str
    split: str
    direction: Direction


class TrialOutcome(Record):
    """How a trial ended."""

    value: float | None = None
    """None where it was pruned or failed."""
    reason: str = ""
    """Why it failed."""


@task(name="trial", task_run_name="trial-{number}", cache_policy=NO_CACHE)
def run_trial(
    number: int, trial: optuna.Trial, params: dict[str, Any], inputs: SweepInputs
) -> TrialOutcome:
    """Train with some settings and return the metric; a trial that diverges is an outcome too."""
    name = f"trial-{number:04d}"
    try:
        config = apply_overrides(inputs.config, params)
        member = open_member(inputs.family, name, dump_config(config))
        outcome = _try(trial, config, member, inputs)
    except (HoneError, RuntimeError) as err:
        if not isinstance(err, HoneError) and not is_out_of_memory(err):
            raise
        trial.set_user_attr(REASON, str(err))
        outcome = TrialOutcome(reason=str(err))
    shown = "pruned" if outcome.value is None else f"{outcome.value:.4g}"
    LOG.info("sweep: trial %d: %s %s", number, inputs.metric, outcome.reason or shown)
    return outcome


def _try(
    trial: optuna.Trial, config: RunConfig, member: RunFolder, inputs: SweepInputs
) -> TrialOutcome:
    """Train, score and track one trial.

    Raises:
        HoneError: The settings do not go together, or the training failed.
    """
    tracked = track(config, member, inputs.data)
    set_tags(tracked, {"hone.trial": str(trial.number)})
    try:
        with TaskObserver(f"trial {trial.number}") as observer:
            formatted = format_version(inputs.data, config, observer)
            check_rows(formatted, inputs)
            pruner = Pruner(trial, inputs.direction, plan_whole(config, formatted)[0].eval_steps)
            trained = train_candidate(inputs.data, formatted, config, member, pruner.should_stop)
            report_history(trained, pruner)
            value = score(trained, formatted, config, inputs, observer)
    except TrainingStopped as stopped:
        set_tags(tracked, {"hone.pruned": stopped.where})
        finish_run(tracked, "KILLED")
        return TrialOutcome()
    except BaseException:
        finish_run(tracked, "FAILED")
        raise
    log_metrics(tracked, {f"{inputs.split}/{inputs.metric}": value})
    finish_run(tracked)
    return TrialOutcome(value=value)


def is_out_of_memory(err: RuntimeError) -> bool:
    """Return whether the device had no room for a trial, which says nothing about the others."""
    import torch

    return isinstance(err, torch.OutOfMemoryError)


def check_rows(formatted: FormattedData, inputs: SweepInputs) -> None:
    """Refuse settings that change which rows are scored: their values would mean something else.

    Raises:
        RunError: They do.
    """
    for name in dict.fromkeys(["validation", inputs.split]):
        before, after = inputs.formatted.splits.get(name), formatted.splits.get(name)
        if before and (after is None or before.digest != after.digest):
            raise RunError(
                message=f"these settings change the rows of {name}, so that scores on them "
                "cannot be compared with those of other trials",
                where="training.max_length",
            )


def report_history(trained: TrainedModel, pruner: Pruner) -> None:
    """Report the validations of a training that came from the cache, for the pruning of others."""
    for record in read_jsonl(trained.folder / "history.jsonl"):
        if VALIDATION_LOSS in record:
            pruner.report(record["step"], record[VALIDATION_LOSS])


def score(
    trained: TrainedModel,
    formatted: FormattedData,
    config: RunConfig,
    inputs: SweepInputs,
    observer: TaskObserver,
) -> float:
    """Return the metric that the search makes better."""
    if inputs.metric == VALIDATION_LOSS:
        return trained.metrics[VALIDATION_LOSS]
    found = evaluate_splits(
        "finetuned", trained.reference, formatted, config, [inputs.split], observer
    )
    return found.metrics[inputs.split][inputs.metric]
