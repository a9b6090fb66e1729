"""A search over a space with Optuna: its storage, what it tries next, what came out."""

from __future__ import annotations

import itertools
import json
import logging
import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from configs.search_space import Dimension, Space
from tasks.records.handles import Record

if TYPE_CHECKING:
    import optuna

LOG = logging.getLogger("hone")
STORAGE = "study.db"
AGAIN = "again"  # the number of the trial whose process died, and whose settings these are
REASON = "reason"
MAX_COMBINATIONS = 32  # of choices: up to here each is tried once, and nothing is guessed
TRIALS_BEFORE_PRUNING = 5  # nothing is known to be bad before

Direction = Literal["minimize", "maximize"]
State = Literal["complete", "pruned", "failed"]


class TrialRecord(Record):
    """What became of one trial."""

    number: int
    """From 0, in the order of Optuna's storage."""
    params: dict[str, Any]
    """By dotted key."""
    state: State
    value: float | None
    """The metric; None unless it is complete."""
    seconds: float
    reason: str
    """Why it failed; else empty."""


def open_study(folder: Path, name: str, direction: Direction) -> optuna.Study:
    """Open the study in a folder, or make it.

    Trials of a process that died are noted as interrupted, and their settings wait to be tried
    again: their training goes on from its checkpoint.

    Args:
        folder: Held by a lock, so that no other process writes its storage.
        name: The study's name.
        direction: Which values are better.
    """
    import optuna
    from optuna.trial import TrialState

    optuna.logging.disable_default_handler()  # hone says what happens
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{folder / STORAGE}",
        direction=direction,
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING),
    )
    for dead in study.get_trials(states=(TrialState.RUNNING,)):
        study.enqueue_trial(dead.params, user_attrs={AGAIN: dead.number})
        study.tell(dead.number, state=TrialState.FAIL)
    return study


def ask_trial(study: optuna.Study, space: Space, seed: int) -> tuple[optuna.Trial, dict[str, Any]]:
    """Begin the next trial.

    Returns:
        The trial, and its settings by dotted key.
    """
    import optuna

    # Seeded afresh for each trial: a resumed search would else draw its first numbers again.
    number = len(list_trials(study, space))
    study.sampler = optuna.samplers.TPESampler(seed=seed + number)
    _queue_untried(study, space, seed)
    trial = study.ask({d.key: build_distribution(d) for d in space})
    return trial, decode_params(space, trial.params)


def has_enough(study: optuna.Study, space: Space, asked: int) -> bool:
    """Tell whether as many trials as asked for have an outcome, or all of a small space are tried.

    A trial that failed has none, and another takes its place.
    """
    trials = list_trials(study, space)
    with_outcome = sum(trial.state != "failed" for trial in trials)
    return with_outcome >= asked or len(trials) == len(_list_combinations(space)) > 0


def _list_combinations(space: Space) -> list[dict[str, Any]]:
    """Return all settings of a small space of choices, as Optuna stores them; of others none."""
    size = math.prod(len(d.values) if d.kind == "choice" else math.inf for d in space)
    if size > MAX_COMBINATIONS:
        return []
    keys = [d.key for d in space]
    values = itertools.product(*([encode_choice(v) for v in d.values] for d in space))
    return [dict(zip(keys, combination, strict=True)) for combination in values]


def _queue_untried(study: optuna.Study, space: Space, seed: int) -> None:
    """Have a small space of choices tried whole, each combination once, in the seed's order."""
    from optuna.trial import TrialState

    combinations = _list_combinations(space)
    if not combinations or study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        return
    random.Random(seed).shuffle(combinations)  # noqa: S311 - an order, no secret
    tried = [trial.params for trial in study.get_trials(deepcopy=False)]
    if untried := [found for found in combinations if found not in tried]:
        study.enqueue_trial(untried[0])


def build_distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    """Return a dimension as Optuna knows it."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if dimension.kind == "choice":
        return CategoricalDistribution([encode_choice(value) for value in dimension.values])
    if dimension.kind == "int":
        return IntDistribution(int(dimension.low), int(dimension.high))
    is_log = dimension.kind == "loguniform"
    return FloatDistribution(dimension.low, dimension.high, log=is_log)


def encode_choice(value: Any) -> str | int | float | bool | None:
    """Return a value as Optuna stores it: lists and mappings as JSON."""
    is_plain = value is None or isinstance(value, str | int | float | bool)
    return value if is_plain else json.dumps(value, sort_keys=True)


def decode_params(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return Optuna's parameters as settings by dotted key."""
    choices = {d.key: {encode_choice(v): v for v in d.values} for d in space if d.values}
    return {
        key: choices[key][value] if key in choices else value
        for key, value in sorted(params.items())
    }


def list_trials(study: optuna.Study, space: Space) -> list[TrialRecord]:
    """Return the trials that have ended by themselves, in order."""
    everything = study.get_trials(deepcopy=False)
    interrupted = {trial.user_attrs[AGAIN] for trial in everything if AGAIN in trial.user_attrs}
    states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    return [
        TrialRecord(
            number=trial.number,
            params=decode_params(space, trial.params),
            state=states[trial.state.name],
            value=trial.value if trial.state.name == "COMPLETE" else None,
            seconds=trial.duration.total_seconds() if trial.duration else 0.0,
            reason=trial.user_attrs.get(REASON, ""),
        )
        for trial in everything
        if trial.state.name in states and trial.number not in interrupted
    ]


def find_best(trials: list[TrialRecord], direction: Direction) -> TrialRecord | None:
    """Return the best complete trial, the first of several; None where there is none."""
    complete = [trial for trial in trials if trial.value is not None]
    sign = 1 if direction == "minimize" else -1
    return min(complete, key=lambda trial: sign * (trial.value or 0.0), default=None)


class Pruner:
    """Feeds a trial's validation losses to Optuna, and asks it whether to go on.

    Args:
        trial: The trial.
        direction: Of the study; where more is better, a loss counts negative.
        eval_steps: Optimiser steps between validations: losses are compared by which validation
            they are of, because the steps between two depend on the batch.
    """

    def __init__(self, trial: optuna.Trial, direction: Direction, eval_steps: int) -> None:
        self._trial = trial
        self._sign = 1 if direction == "minimize" else -1
        self._eval_steps = eval_steps
        self._reported: set[int] = set()

    def report(self, step: int, loss: float) -> None:
        """Report the loss of a validation, once."""
        number = step // self._eval_steps
        if number not in self._reported:
            self._reported.add(number)
            self._trial.report(self._sign * loss, number)

    def should_stop(self, step: int, metrics: dict[str, float]) -> bool:
        """Report a validation, and return whether it is worse than the median of those before."""
        self.report(step, metrics["eval_loss"])
        return self._trial.should_prune()
