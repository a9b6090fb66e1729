"""A search with Optuna: its storage goes on, its trials are the same again, bad ones are pruned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.search_space import Dimension, Space
from tasks.search import (
    Direction,
    Pruner,
    ask_trial,
    find_best,
    has_enough,
    list_trials,
    open_study,
)

SPACE: Space = (
    Dimension("model.lora_target_modules", "choice", values=("all-linear", ["q_proj", "v_proj"])),
    Dimension("training.learning_rate", "loguniform", low=1e-4, high=1e-1),
    Dimension("training.num_train_epochs", "int", low=1, high=4),
)


def run_trials(
    folder: Path,
    count: int,
    *,
    direction: Direction = "minimize",
    value: Callable[[dict[str, Any]], float] = lambda params: params["training.learning_rate"],
) -> list[Any]:
    study = open_study(folder, "study", direction)
    while len(list_trials(study, SPACE)) < count:
        trial, params = ask_trial(study, SPACE, seed=3)
        study.tell(trial, value(params))
    return list_trials(study, SPACE)


def test_settings_are_what_the_space_says(tmp_path: Path) -> None:
    for trial in run_trials(tmp_path, 6):
        assert trial.params["model.lora_target_modules"] in ("all-linear", ["q_proj", "v_proj"])
        assert 1e-4 <= trial.params["training.learning_rate"] <= 1e-1
        assert trial.params["training.num_train_epochs"] in {1, 2, 3, 4}


def test_the_best_is_by_the_direction(tmp_path: Path) -> None:
    trials = run_trials(tmp_path, 4)
    values = [trial.value for trial in trials]
    assert find_best(trials, "minimize") == trials[values.index(min(values))]
    assert find_best(trials, "maximize") == trials[values.index(max(values))]
    assert find_best([], "minimize") is None


def test_a_search_that_was_interrupted_is_the_one_that_was_not(tmp_path: Path) -> None:
    for name in ("whole", "interrupted"):
        (tmp_path / name).mkdir()
    run_trials(tmp_path / "interrupted", 2)
    study = open_study(tmp_path / "interrupted", "study", "minimize")
    _, dying = ask_trial(study, SPACE, seed=3)  # its process ends here
    resumed = run_trials(tmp_path / "interrupted", 5)
    assert resumed[2].params == dying
    whole = run_trials(tmp_path / "whole", 5)
    assert [trial.params for trial in resumed] == [trial.params for trial in whole]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_trial_that_is_worse_than_the_median_is_pruned(
    tmp_path: Path, direction: Direction
) -> None:
    study = open_study(tmp_path, "study", direction)
    for loss in (1.0, 1.1, 1.2, 1.3, 1.4):
        trial, _ = ask_trial(study, SPACE, seed=0)
        pruner = Pruner(trial, direction, eval_steps=10)
        assert not pruner.should_stop(10, {"eval_loss": loss})  # nothing is pruned so early
        study.tell(trial, loss)
    for loss, is_stopped in ((0.9, False), (2.0, True)):
        trial, _ = ask_trial(study, SPACE, seed=0)
        pruner = Pruner(trial, direction, eval_steps=5)
        assert pruner.should_stop(5, {"eval_loss": loss}) == is_stopped
        study.tell(trial, loss)


def test_a_validation_is_reported_once(tmp_path: Path) -> None:
    study = open_study(tmp_path, "study", "minimize")
    trial, _ = ask_trial(study, SPACE, seed=0)
    pruner = Pruner(trial, "minimize", eval_steps=4)
    pruner.should_stop(4, {"eval_loss": 2.0})
    for step, loss in ((4, 2.0), (8, 1.5)):  # from the history, when the training has ended
        pruner.report(step, loss)
    study.tell(trial, 1.5)
    assert study.trials[0].intermediate_values == {1: 2.0, 2: 1.5}


def test_a_small_space_of_choices_is_tried_whole_and_once(tmp_path: Path) -> None:
    space: Space = (
        Dimension("model.lora_r", "choice", values=(4, 8, 16)),
        Dimension("model.lora_target_modules", "choice", values=("all-linear", ["q_proj"])),
    )
    tried = []
    while not has_enough(study := open_study(tmp_path, "study", "minimize"), space, 20):
        trial, params = ask_trial(study, space, seed=3)
        study.tell(trial, params["model.lora_r"])
        tried.append(params)
    assert len(tried) == 6
    assert all(tried.count(params) == 1 for params in tried)


def test_another_trial_takes_the_place_of_one_that_failed(tmp_path: Path) -> None:
    from optuna.trial import TrialState

    study = open_study(tmp_path, "study", "minimize")
    for number in range(3):
        assert not has_enough(study, SPACE, 2)
        trial, _ = ask_trial(study, SPACE, seed=0)
        failed = {"state": TrialState.FAIL} if number == 0 else {"values": 1.0}
        study.tell(trial, **failed)
    assert has_enough(study, SPACE, 2)
    assert [record.state for record in list_trials(study, SPACE)] == [
        "failed", "complete", "complete",
    ]  # fmt: skip


def test_a_small_space_ends_where_some_of_it_fails(tmp_path: Path) -> None:
    from optuna.trial import TrialState

    space: Space = (Dimension("model.lora_r", "choice", values=(4, 8)),)
    study = open_study(tmp_path, "study", "minimize")
    for _ in range(2):
        trial, _ = ask_trial(study, space, seed=0)
        study.tell(trial, state=TrialState.FAIL)
    assert has_enough(study, space, 2)
