"""Retraining: look at the data, train when it is worth it, and publish only what is better."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow

from configs.load import apply_overrides
from configs.retraining import RetrainRules
from configs.schema import RunConfig
from flows.environment import prepare_environment
from flows.finetune import finetune
from flows.results import RunResult
from flows.rivals import find_rival
from tasks.format import format_rows
from tasks.records.extras import check_extras
from tasks.records.handles import Record
from tasks.records.runs import check_home
from tasks.start import start_from_champion
from tasks.version import version
from tasks.weigh import RetrainChoice, begin_attempt, end_attempt, weigh

logging.getLogger("hone").setLevel(logging.INFO)


class Retraining(Record):
    """What a retraining came to."""

    choice: RetrainChoice
    run: RunResult | None
    """None where it was not worth a training."""


@flow(name="retrain")
def retrain(
    config: RunConfig = RunConfig(),  # noqa: B008 - frozen; the UI's form shows its values
    rules: RetrainRules = RetrainRules(),  # noqa: B008
    overrides: dict[str, Any] | None = None,
) -> Retraining:
    """Train again when the data has changed enough since the champion's, and publish if better.

    Nothing is trained while another run trains the same model, sooner than the rules allow, on the
    champion's data, or on data that this configuration has been trained on already. Each skip is
    recorded with its reason: in the log, as an artifact, and on the champion in MLflow.

    Requires: as `finetune`.

    Args:
        config: What to do; a preset fills it in.
        rules: What must have changed, and how long ago the last training must be.
        overrides: Values by dotted key that replace those of `config`.
    """
    prepare_environment()
    check_home()
    config = apply_overrides(config, overrides or {})
    check_extras(config)
    rival = find_rival(config.publish.name)
    data = version(config.data, config.model)
    num_rows = format_rows(data, config).rows.read
    choice = weigh(data, config, rules, num_rows, rival)
    if not choice.is_worth_it:
        return Retraining(choice=choice, run=None)
    attempt = begin_attempt(data, config)
    run = finetune(start_from_champion(config) if rules.start_from == "champion" else config)
    end_attempt(attempt, config.publish.name, run.verdict)
    return Retraining(choice=choice, run=run)
