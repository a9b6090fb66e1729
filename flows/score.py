"""The flow of `evaluate/default`: score any model where a worker is, as `hone evaluate` does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from prefect import flow

from configs.load import apply_overrides
from configs.schema import RunConfig
from flows.environment import prepare_environment
from flows.liveness import end_with_run
from tasks.records.handles import Evaluation
from tasks.records.runs import check_home
from tasks.resolve import release_models
from tasks.score import score_model

logging.getLogger("hone").setLevel(logging.INFO)


@flow(name="evaluate")
def evaluate(
    model: str,
    config: RunConfig = RunConfig(),  # noqa: B008 - frozen; the UI's form shows its values
    data: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> Evaluation:
    """Score a model on the evaluation sets of a configuration, or on a file.

    `test` is left to the gate, which counts its looks; a file that is named is scored whole.

    Requires: the model, and the data that is scored, readable from here. Works with a GPU and
    without.

    Args:
        model: A run folder, a checkpoint, a model folder, `models:/NAME@ALIAS`, or a hub id.
        config: How to score, and the data whose evaluation sets are scored where no file is named.
        data: A file that a worker can read, in any format that hone reads.
        overrides: Values by dotted key that replace those of `config`, such as
            `{"evaluation.num_samples": 50}`.
    """
    prepare_environment()
    check_home()
    config = apply_overrides(config, overrides or {})
    try:
        with end_with_run():
            return score_model(model, config, Path(data).resolve() if data else None)
    finally:
        release_models()
