"""The comparison: several configurations trained and scored on the same rows, side by side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from prefect import flow

from configs.load import apply_overrides, dump_config
from configs.schema import RunConfig
from flows.environment import prepare_environment
from flows.liveness import end_with_run
from tasks.compare import (
    Contestant,
    check_names,
    check_same_data,
    compare_arms,
    start_comparison,
    track_arm,
    track_comparison,
)
from tasks.evaluate import check_scoring, evaluate
from tasks.evaluation.comparison import Comparison
from tasks.format import format_rows
from tasks.pilot import choose_split
from tasks.records.extras import check_extras
from tasks.records.families import name_family, open_family, open_member
from tasks.records.handles import Evaluation, TrainedModel
from tasks.records.runs import RunFolder, check_home
from tasks.report import end_badly
from tasks.resolve import release_models
from tasks.train import train
from tasks.version import version

SETS = ("dev", "validation")

logging.getLogger("hone").setLevel(logging.INFO)


@flow(name="compare")
def compare(
    configs: dict[str, RunConfig],
    overrides: dict[str, Any] | None = None,
) -> Comparison:
    """Train several configurations, score them on `dev` (else `validation`), and compare them.

    Nothing is decided or published, and `test` is not read. What a run of the same configuration
    has trained comes from the cache, and a later run finds what was trained here.

    Requires: as `finetune`, for each configuration; and that all of them have the same data.

    Args:
        configs: What to compare, by name; the rows of the first one's sets are scored by its
            `evaluation` settings, for all.
        overrides: Values by dotted key that replace those of every configuration.
    """
    prepare_environment()
    check_home()
    check_names(configs)
    configs = {name: apply_overrides(c, overrides or {}) for name, c in configs.items()}
    for config in configs.values():
        check_extras(config)
        check_scoring(config)
    contestants = prepare_contestants(configs)
    first = contestants[0]
    split = choose_split(first.formatted, SETS)
    check_same_data(contestants, split)
    family = open_family("comparisons", name_family())
    try:
        with end_with_run():
            start_comparison(family, configs)
            outcomes = [train_and_score(family, c, first.config, split) for c in contestants]
            comparison = compare_arms(family, contestants, outcomes, split)
        track_comparison(family, comparison, first.config.tracking.project)
    except BaseException as err:
        end_badly(family, first.config, err)
        raise
    finally:
        release_models()
    return comparison


def prepare_contestants(configs: dict[str, RunConfig]) -> Sequence[Contestant]:
    """Version and format the data of every configuration, before any is trained."""
    contestants = []
    for name, config in configs.items():
        data = version(config.data, config.model)
        contestants.append(Contestant(name, config, data, format_rows(data, config)))
    return contestants


def train_and_score(
    family: RunFolder, contestant: Contestant, first: RunConfig, split: str
) -> tuple[TrainedModel, Evaluation]:
    """Train one configuration and score it as all are scored."""
    name, config, formatted = contestant.name, contestant.config, contestant.formatted
    run = open_member(family, name, dump_config(config))
    task = train.with_options(task_run_name=f"train-{name}")
    score = evaluate.with_options(task_run_name=f"evaluate-{name}")
    same = config.model_copy(update={"evaluation": first.evaluation})
    with track_arm(contestant, run) as metrics:
        trained = task(contestant.data, formatted, config, run)
        evaluation = score("finetuned", trained.reference, formatted, same, [split])
        metrics.update(evaluation.metrics)
    release_models()  # the next one may have another base, which may not fit beside it
    return trained, evaluation
