"""The sweep: a search for better settings, each trial a run of its own in MLflow."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from prefect import flow

from configs.errors import RequestError, RunError
from configs.layers import Layer
from configs.load import apply_overrides
from configs.schema import RunConfig
from configs.search_space import Space, check_space
from flows.environment import prepare_environment
from tasks.evaluate import check_scoring
from tasks.format import format_rows
from tasks.pilot import choose_split
from tasks.records.extras import check_extras, require_package
from tasks.records.families import open_family
from tasks.records.locks import hold_lock
from tasks.records.runs import check_home
from tasks.report import end_badly
from tasks.resolve import release_models
from tasks.search import ask_trial, has_enough, open_study
from tasks.sweep import (
    SweepResult,
    choose_objective,
    name_sweep,
    start_sweep,
    track_sweep,
    write_sweep,
)
from tasks.trial import SweepInputs, TrialOutcome, run_trial
from tasks.version import version

MAX_FAILURES = 3  # in a row: then it is not the settings

logging.getLogger("hone").setLevel(logging.INFO)


@flow(name="sweep")
def sweep(
    config: RunConfig,
    space: dict[str, Any],
    metric: str | None = None,
    direction: str | None = None,
    trials: int = 20,
    timeout_seconds: float | None = None,
    seed: int = 0,
    preset: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> SweepResult:
    """Search for better settings on `dev` (else `validation`); `test` is not read.

    The same request goes on where it was interrupted, or with more trials. A trial whose
    validation losses are worse than the median of earlier ones is stopped.

    Requires: as `finetune`; and the extra `sweep` (Optuna).

    Args:
        config: What the settings are laid over.
        space: Dotted keys, each with `type` (choice, uniform, loguniform, int) and `values`, or
            `low` and `high`.
        metric: What is made better: a metric's name, or `eval_loss`, the loss on `validation`; by
            default the one that decides at the gate.
        direction: `minimize` or `maximize`, which a metric has by itself.
        trials: How many, with those of earlier calls; failed ones do not count.
        timeout_seconds: Begin no trial after this time.
        seed: Seed of the search.
        preset: What the best preset extends; by default it stands alone.
        overrides: Values by dotted key that replace those of `config`.
    """
    prepare_environment()
    require_package("optuna", where="hone sweep", needed_for="a sweep")
    check_home()
    config = apply_overrides(config, overrides or {})
    check_extras(config)
    check_scoring(config)
    dimensions = check_space(Layer(space), config)
    data = version(config.data, config.model)
    formatted = format_rows(data, config)
    objective = choose_objective(metric, direction, formatted, config)
    sets = ("validation",) if objective.is_validation_loss else ("dev", "validation")
    split = choose_split(formatted, sets)
    name = name_sweep(config, dimensions, objective, formatted, split, seed)
    family = open_family("sweeps", name)
    inputs = SweepInputs(
        config, data, formatted, family, objective.metric, split, objective.direction
    )
    try:
        with hold_lock(family.folder / "sweep.lock", f"the sweep {name}"):
            start_sweep(inputs, dimensions)
            search(inputs, dimensions, trials, timeout_seconds, seed)
            result = write_sweep(inputs, dimensions, preset)
            track_sweep(inputs, result)
    except RequestError:
        raise
    except BaseException as err:
        end_badly(family, config, err)
        raise
    finally:
        release_models()
    return result


def search(
    inputs: SweepInputs,
    space: Space,
    num_trials: int,
    timeout_seconds: float | None,
    seed: int,
) -> None:
    """Run trials until there are enough of them, or the time is over.

    Raises:
        RunError: Several failed in a row.
    """
    study = open_study(Path(inputs.family.folder), inputs.family.name, inputs.direction)
    begin = time.monotonic()
    num_failures = 0
    while not has_enough(study, space, num_trials):
        if timeout_seconds is not None and time.monotonic() - begin >= timeout_seconds:
            return
        trial, params = ask_trial(study, space, seed)
        outcome = run_trial(trial.number, trial, params, inputs)
        tell(study, trial, outcome)
        num_failures = num_failures + 1 if outcome.reason else 0
        if num_failures == MAX_FAILURES:
            raise RunError(
                message=f"{MAX_FAILURES} trials failed in a row, the last one: {outcome.reason}",
                where=f"sweep {inputs.family.name}",
                hint="see the reason; the same command goes on after these trials",
            )


def tell(study: Any, trial: Any, outcome: TrialOutcome) -> None:
    """Record how a trial ended."""
    from optuna.trial import TrialState

    if outcome.reason:
        study.tell(trial, state=TrialState.FAIL)
    elif outcome.value is None:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, outcome.value)
