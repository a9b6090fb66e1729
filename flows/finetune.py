"""The pipeline: version, format, evaluate, train, evaluate, decide, publish."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from prefect import flow

from configs.load import apply_overrides, dump_config
from configs.schema import RunConfig
from flows.environment import prepare_environment
from flows.liveness import end_with_run
from flows.pilot import make_pilot
from flows.results import RunResult, Stage, check_pilot, summarize_run
from tasks.announce import announce_end
from tasks.approve import wait_for_approval
from tasks.decide import decide, take_look
from tasks.evaluate import check_scoring, evaluate
from tasks.figures import describe_drawing
from tasks.figures_process import start_drawing
from tasks.format import format_rows
from tasks.merge import merge
from tasks.pilot import shorten_run
from tasks.prepare import is_in_lakefs, prepare
from tasks.publish import (
    choose_delivery,
    deliver_champion,
    find_earlier,
    find_need,
    publish,
)
from tasks.publishing.acceptance_process import FreshProcess, start_process
from tasks.publishing.delivery import check_delivery
from tasks.publishing.registry import ChampionMoved, find_champion
from tasks.records.extras import check_extras
from tasks.records.handles import DataVersion, FormattedData, TrainedModel
from tasks.records.results import StageResults
from tasks.records.runs import RunFolder, check_home, create_run_folder
from tasks.records.waiting_process import WaitingProcess
from tasks.report import end_badly, report
from tasks.resolve import refer_to_base, release_models
from tasks.track import check_trackers
from tasks.train import check_training, is_trained, train
from tasks.version import version

MAX_DECISIONS = 3  # how often another publisher may move the champion while this run decides

logging.getLogger("hone").setLevel(logging.INFO)


@flow(name="finetune")
def finetune(
    config: RunConfig = RunConfig(),  # noqa: B008 - frozen; the UI's form shows its values
    overrides: dict[str, Any] | None = None,
    until: Stage | None = None,
    pilot: bool = False,
) -> RunResult:
    """Fine-tune a language model and publish it only when it is proven better.

    Requires: the data source and the base model, readable from here, and a HONE_HOME that the
    workers of one pool share. Works with a GPU and without.

    Args:
        config: What to do; a preset fills it in.
        overrides: Values by dotted key that replace those of `config`, such as
            `{"training.num_train_epochs": 3}`.
        until: Stop after this stage; the next run goes on from there.
        pilot: Train at most 100 steps, score them on `golden`, `dev` or `validation`, and forecast
            time, memory and cost of the whole run; nothing is decided or published.
    """
    prepare_environment()
    check_pilot(pilot=pilot, until=until)
    check_home()
    config = apply_overrides(config, overrides or {})
    check_extras(config)
    check_scoring(config)
    check_trackers(config)
    if until in {None, "publish"} and not pilot:
        check_delivery(choose_delivery(config.publish))
    results = StageResults()

    data = results.note("version", version(config.data, config.model))
    if until == "version":
        return summarize_run(results, None)
    formatted = results.note("format", format_rows(data, config))
    if config.data.keep_prepared and is_in_lakefs(data):
        results.note("prepare", prepare(data, formatted))
    if until == "format":
        return summarize_run(results, None)

    whole = config
    if pilot:
        config = shorten_run(config, formatted)
    run = create_run_folder(dump_config(config))
    try:
        with end_with_run():
            if pilot:
                make_pilot(whole, config, run, data, formatted, results)
            else:
                make_candidate(config, run, data, formatted, results, until)
            report(run, config, results)
            announce_end(config.publish.name, run, results)
    except BaseException as err:
        end_badly(run, config, err)
        raise
    finally:
        release_models()
    return summarize_run(results, run)


@dataclass(frozen=True)
class Beside:
    """Processes that import, for seconds, while a new candidate is trained."""

    fresh: FreshProcess
    """Of the acceptance test."""
    drawing: WaitingProcess
    """Draws the figures."""


@contextmanager
def start_beside() -> Iterator[Beside]:
    """Start the processes that a new candidate will need."""
    with start_process() as fresh, start_drawing() as drawing:
        yield Beside(fresh, drawing)


def make_candidate(
    config: RunConfig,
    run: RunFolder,
    data: DataVersion,
    formatted: FormattedData,
    results: StageResults,
    until: Stage | None,
) -> None:
    """Measure the base model, train on it, measure the outcome, and go on to the decision."""
    check_training(data, formatted, config)
    base = refer_to_base(data.base, config.model.dtype)
    results.note("evaluate-baseline", evaluate("baseline", base, formatted, config))
    is_new = until in {None, "publish"} and not is_trained(data, formatted, config)
    with start_beside() if is_new else nullcontext() as beside:
        trained = results.note("train", train(data, formatted, config, run))
        if until == "train":
            return
        if config.publish.merge and trained.method != "full":
            trained = results.note("merge", merge(trained, formatted, config, run))
        earlier = find_earlier(config.publish.name, trained.digest)
        if earlier is None:
            decide_and_publish(config, run, data, formatted, trained, results, until, beside)
            return
    finetuned = evaluate("finetuned", trained.reference, formatted, config)
    results.note("evaluate-finetuned", finetuned)
    if until != "evaluate":
        results.note("decide", earlier.decision)
        if until != "decide":
            deliver_champion(earlier.publication, choose_delivery(config.publish))
            results.note("publish", earlier.publication)


def decide_and_publish(
    config: RunConfig,
    run: RunFolder,
    data: DataVersion,
    formatted: FormattedData,
    trained: TrainedModel,
    results: StageResults,
    until: Stage | None,
    beside: Beside | None,
) -> None:
    """Evaluate the candidate, compare it, and publish it if it is better.

    Another publisher may move the champion meanwhile; then it is compared and decided again.

    Raises:
        ChampionMoved: The champion changed during each of several decisions.
    """
    look = take_look(config, formatted, trained)  # from here on the test set is read
    finetuned = evaluate("finetuned", trained.reference, formatted, config)
    results.note("evaluate-finetuned", finetuned)
    for attempt in range(1, MAX_DECISIONS + 1):
        results.forget("evaluate-champion")
        champion = find_champion(config.publish.name)
        if champion and not champion.problem:
            rival = evaluate("champion", champion.reference, formatted, config)
            results.note("evaluate-champion", rival)
        if until == "evaluate":
            return
        if beside and beside.drawing.is_waiting:
            beside.drawing.ask(describe_drawing(config, results).model_dump_json())
        decision = decide(trained, formatted, results.arms, config, run, champion, look)
        results.note("decide", decision)
        if until == "decide" or decision.verdict != "better":
            return
        if why := find_need(config.publish.name, trained.digest, config.publish):
            wait_for_approval(run, decision, why, config)
            return
        try:
            fresh = beside.fresh if beside else None
            published = publish(
                decision, data, formatted, trained, results.arms, config, run, fresh
            )
        except ChampionMoved:
            if attempt == MAX_DECISIONS:
                raise
            continue
        results.note("publish", published)
        return
