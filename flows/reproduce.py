"""The repetition: a model trained again from its record, and compared with what was recorded."""

from __future__ import annotations

import logging

from prefect import flow

from configs.load import dump_config
from flows.environment import prepare_environment
from flows.liveness import end_with_run
from tasks.evaluate import evaluate
from tasks.explain import explain
from tasks.format import format_rows
from tasks.records.environment import read_environment
from tasks.records.extras import check_extras
from tasks.records.home import use_home
from tasks.records.runs import check_home, create_run_folder
from tasks.records.stage_fields import name_fields
from tasks.reproduce import (
    Reproduction,
    bring_adapter,
    bring_assignments,
    bring_data,
    compare_models,
    keep_memory_setting,
    prepare_repetition,
)
from tasks.resolve import release_models
from tasks.train import train

LOG = logging.getLogger("hone")
LOG.setLevel(logging.INFO)


@flow(name="reproduce")
def reproduce(model: str) -> Reproduction:
    """Train a model again from what is recorded about it, and compare the two byte for byte.

    It has a HONE_HOME of its own below `outputs/reproductions/`, so that no cache answers it;
    nothing is decided, tracked or published, and no look at the test set is counted.

    Requires: the recorded data commit and base model, and the device that it was trained on.

    Args:
        model: A published model, `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a run folder.
    """
    prepare_environment()
    check_home()
    repetition = prepare_repetition(explain(model))
    check_extras(repetition.config)
    data = bring_data(repetition)
    bring_adapter(repetition)
    note = bring_assignments(repetition)
    config = repetition.config
    try:
        with end_with_run(), use_home(repetition.home):
            formatted = format_rows(data, config)
            keep_memory_setting(repetition, data, formatted)
            run = create_run_folder(dump_config(config))
            trained = train(data, formatted, config, run)
            evaluation = evaluate("finetuned", trained.reference, formatted, config)
            environment = read_environment(trained.folder)
    finally:
        release_models()
    assert environment, "the training keeps it"
    result = compare_models(repetition, data, formatted, trained, evaluation, environment, note)
    LOG.info(
        "reproduce: %s is %s (%s)", model, "equal" if result.equal else "not equal", result.how,
        extra=name_fields("reproduce", model=model, equal=result.equal, how=result.how),
    )  # fmt: skip
    return result
