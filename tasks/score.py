"""Score any model on any data, by the same path as a run's evaluation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from configs.errors import RequestError
from configs.schema import RunConfig
from tasks.evaluate import NOT_EVALUATED, check_scoring, evaluate_splits
from tasks.evaluation.predictions import read_splits
from tasks.evaluation.slices import SliceMetrics, slice_splits
from tasks.format import format_version
from tasks.observe import TaskObserver
from tasks.records.handles import Evaluation, RowCounts
from tasks.records.observer import Observer, SilentObserver
from tasks.resolve import resolve_model
from tasks.version import pin_inputs

LOG = logging.getLogger("hone")
LEFT_TO_THE_GATE = {"test"}  # each look at it is counted; others choose on dev
ANY_LENGTH = 1_000_000  # evaluation checks the model's context itself


@dataclass(frozen=True)
class Scored:
    """An evaluation of rows that need not be a run's."""

    evaluation: Evaluation
    metrics: dict[str, dict[str, float]]
    """By set, or by the file's name, then by metric."""
    slices: dict[str, SliceMetrics]
    """By set, where slices were asked for."""
    rows: RowCounts


@task(name="evaluate", task_run_name="evaluate-model", cache_policy=NO_CACHE)
def score_model(model: str, config: RunConfig, file: Path | None) -> Evaluation:
    """Answer and score rows with a model, and show the figures in the Prefect UI."""
    with TaskObserver("evaluate") as observer:
        scored = score(model, config, file, observer)
    rows = [{"set": name, **metrics} for name, metrics in scored.metrics.items()]
    create_table_artifact(rows, key="evaluation", description=f"Scores of {model}")
    for row in rows:
        LOG.info("evaluate %s: %s", model, ", ".join(f"{k} {v}" for k, v in row.items()))
    return scored.evaluation.model_copy(update={"metrics": scored.metrics})


def score(
    model: str,
    config: RunConfig,
    file: Path | None,
    observer: Observer = SilentObserver(),  # noqa: B008 - it holds nothing
) -> Scored:
    """Answer and score rows with a model.

    Args:
        model: A run folder, a checkpoint, a model folder, `models:/NAME@ALIAS`, or a hub id.
        config: Evaluation settings and, without a file, the data whose evaluation sets are scored.
        file: Rows in any format that hone reads, all of which are scored.
        observer: Hears how far it is.

    Raises:
        RequestError: There is no such model, or the rows cannot be read.
    """
    check_scoring(config, is_run=False)
    resolved = resolve_model(model)
    config = _use_model(config, resolved.tokenizer_folder, str(resolved.reference.base.location))
    if file:
        config = _use_file(config, file)
    data = pin_inputs(config.data, config.model)
    formatted = format_version(data, config, SilentObserver())
    kept_from = set() if file else NOT_EVALUATED | LEFT_TO_THE_GATE
    splits = [name for name in formatted.splits if name not in kept_from]
    if not splits:
        raise RequestError(
            message="there is no evaluation set to score",
            where="data.source",
            allowed="eval/dev.*, eval/adversarial.*, data.eval_sources, or a file",
            hint="test is left to the gate, which counts its looks; name its file to score it",
        )
    evaluation = evaluate_splits(
        "finetuned", resolved.reference, formatted, config, splits, observer
    )
    names = {"train": file.name} if file else {split: split for split in splits}
    return Scored(
        evaluation,
        {name: evaluation.metrics[split] for split, name in names.items()},
        _slice_sets(evaluation, config, names),
        formatted.rows,
    )


def _slice_sets(
    evaluation: Evaluation, config: RunConfig, names: Mapping[str, str]
) -> dict[str, SliceMetrics]:
    settings = config.evaluation
    found = slice_splits(read_splits(evaluation.folder), settings.slice_by, settings.metric_names)
    return {name: found[split] for split, name in names.items() if split in found}


def _use_model(config: RunConfig, tokenizer: Path, base: str) -> RunConfig:
    """Render with the model's own template; a long row is the evaluation's business."""
    template = tokenizer / "chat_template.jinja"
    model = {"model_name_or_path": base}
    if template.is_file():
        model["chat_template"] = str(template)
    training = config.training.model_copy(update={"max_length": ANY_LENGTH})
    return config.model_copy(
        update={"model": config.model.model_copy(update=model), "training": training}
    )


def _use_file(config: RunConfig, file: Path) -> RunConfig:
    """Take every row of one file, duplicates too; nothing is split off."""
    data = config.data.model_copy(
        update={
            "source": str(file),
            "pattern": None,
            "eval_sources": {},
            "validation_fraction": 0.0,
            "test_fraction": 0.0,
            "duplicates": "keep",
            "group_by": None,
        }
    )
    return config.model_copy(update={"data": data})
