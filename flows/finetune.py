"""The pipeline: version, format, evaluate, train, evaluate, decide, publish."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow

from configs.load import apply_overrides, dump_config
from configs.schema import RunConfig
from flows.results import RunRecord, RunResult, Stage, StopAfterStage
from tasks.decide import decide
from tasks.evaluate import evaluate
from tasks.format import format_rows
from tasks.publish import find_earlier, publish
from tasks.publishing.registry import ChampionMoved, find_champion
from tasks.records.handles import Arm, Evaluation
from tasks.records.runs import check_home, create_run_folder
from tasks.report import end_badly, report
from tasks.resolve import refer_to_base
from tasks.train import train
from tasks.version import version

MAX_DECISIONS = 3  # how often another publisher may move the champion while this run decides

logging.getLogger("hone").setLevel(logging.INFO)


@flow(name="finetune")
def finetune(
    config: RunConfig = RunConfig(),  # noqa: B008 - frozen; the UI's form shows its values
    overrides: dict[str, Any] | None = None,
    until: Stage | None = None,
) -> RunResult:
    """Fine-tune a language model and publish it only when it is proven better.

    Requires: the data source and the base model, readable from here, and a HONE_HOME that the
    workers of one pool share. Works with a GPU and without.

    Args:
        config: What to do; a preset fills it in.
        overrides: Values by dotted key that replace those of `config`, such as
            `{"training.num_train_epochs": 3}`.
        until: Stop after this stage; the next run goes on from there.
    """
    check_home()
    config = apply_overrides(config, overrides or {})
    record = RunRecord(until)
    try:
        run_stages(config, record)
    except StopAfterStage:
        pass
    except BaseException as err:
        if record.run:
            end_badly(record.run, config, err)
        raise
    if record.run:
        report(record.run, config, record.handles, record.seconds)
    return record.summarize()


def run_stages(config: RunConfig, record: RunRecord) -> None:
    """Run the stages in order.

    Raises:
        StopAfterStage: The run was asked to stop here.
    """
    data = record.note("version", version(config.data, config.model))
    record.stop_after("version")
    formatted = record.note("format", format_rows(data, config))
    record.stop_after("format")

    run = record.run = create_run_folder(dump_config(config))
    base = refer_to_base(data.base, config.model.dtype)
    baseline = evaluate("baseline", base, formatted, config)
    record.note("evaluate-baseline", baseline)
    trained = record.note("train", train(data, formatted, config, run))
    record.stop_after("train")
    finetuned = evaluate("finetuned", trained.reference, formatted, config)
    record.note("evaluate-finetuned", finetuned)

    if earlier := find_earlier(config.publish.name, trained.digest):
        record.stop_after("evaluate")
        record.note("decide", earlier.decision)
        record.stop_after("decide")
        record.note("publish", earlier.publication)
        return
    arms: dict[Arm, Evaluation] = {"baseline": baseline, "finetuned": finetuned}
    for attempt in range(1, MAX_DECISIONS + 1):
        champion = find_champion(config.publish.name)
        if champion and not champion.problem:
            rival = evaluate("champion", champion.reference, formatted, config)
            arms["champion"] = record.note("evaluate-champion", rival)
        record.stop_after("evaluate")
        decision = decide(trained, formatted, arms, config, run, champion)
        record.note("decide", decision)
        record.stop_after("decide")
        if decision.verdict != "better":
            return
        try:
            published = publish(decision, data, formatted, trained, arms, config, run)
        except ChampionMoved:
            if attempt == MAX_DECISIONS:
                raise
            continue
        record.note("publish", published)
        return
