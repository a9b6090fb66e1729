"""Training on judged answers: from formatted data to a trained model with its record."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import set_seed

from configs.errors import RequestError
from configs.schema import ModelConfig, TrainingConfig
from tasks.formatting.rendering.renderer import Renderer
from tasks.records.extras import require_package
from tasks.records.observer import Observer, SilentObserver
from tasks.training.adapters import cast_inputs
from tasks.training.attention import use_attention
from tasks.training.cancellation import Cancellation
from tasks.training.checkpoints import (
    Checkpoint,
    find_newest_checkpoint,
    name_checkpoint,
)
from tasks.training.devices import Device, resolve_dtype
from tasks.training.job import load_formatted_renderer, open_model, open_splits
from tasks.training.objectives.answers import JudgedSplit, check_labels, judge_split
from tasks.training.objectives.batches import plan_batches
from tasks.training.objectives.job import PreferenceJob
from tasks.training.objectives.loop import PreferenceLoop
from tasks.training.plan import JUDGED_TOKENS, TrainingPlan
from tasks.training.result import TrainingResult, finish_training
from tasks.training.stopping import ShouldStop
from tasks.training.watchdog import Watchdog
from tasks.training.weights import choose_weights, set_greedy_generation

LOG = logging.getLogger("hone")


def train_preference(
    formatted: Path,
    base_location: Path | str,
    out: Path,
    model: ModelConfig,
    training: TrainingConfig,
    base_revision: str | None,
    observer: Observer | None,
    device: Device,
    should_stop: ShouldStop | None = None,
) -> TrainingResult:
    """Do what `train_model` does, on judged answers, with a loss of TRL.

    Args:
        formatted: As in `train_model`.
        base_location: As in `train_model`.
        out: As in `train_model`.
        model: As in `train_model`.
        training: With the objective `dpo`, `orpo` or `kto`.
        base_revision: As in `train_model`.
        observer: As in `train_model`.
        device: Where to train.
        should_stop: As in `train_model`.

    Raises:
        RequestError: TRL is not installed, or the data or the model do not fit the objective.
        RunError: As in `train_model`.
    """
    require_package("trl", where="training.objective", needed_for=training.objective)
    from tasks.training.objectives.assembly import undo_changes

    check_model(model, training)
    judged, judged_validation, plan, renderer = open_judged(formatted, training)
    job = PreferenceJob(
        formatted=formatted,
        out=out,
        base_location=base_location,
        base_revision=base_revision,
        config=model,
        training=training,
        device=device,
        dtype=resolve_dtype(model.dtype, device),
        train=judged.split,
        validation=judged_validation.split if judged_validation else None,
        plan=plan,
        observer=observer or SilentObserver(),
        should_stop=should_stop,
        judged=judged,
        judged_validation=judged_validation,
        renderer=renderer,
    )
    set_seed(training.seed)
    with open_model(job) as net, undo_changes(net):
        return _train(job, net)


def open_judged(
    formatted: Path, training: TrainingConfig
) -> tuple[JudgedSplit, JudgedSplit | None, TrainingPlan, Renderer]:
    """Open and check what was judged of the splits, and plan the training on it.

    Returns:
        The training and the validation answers, the micro-batches, and what rendered them.

    Raises:
        RequestError: The rows do not hold what the objective learns from.
    """
    # An answer is compared as a whole, so rows are not packed: an example a row.
    train, validation, plan = open_splits(formatted, training.model_copy(update={"packing": False}))
    renderer = load_formatted_renderer(formatted)
    judged, judged_validation = (
        judge_split(
            formatted,
            split,
            renderer,
            objective=training.objective,
            max_length=training.max_length,
        )
        if split
        else None
        for split in (train, validation)
    )
    assert judged is not None
    check_labels(judged)
    batches = plan_batches(plan, training.per_device_train_batch_size)
    return judged, judged_validation, batches, renderer


def check_model(model: ModelConfig, training: TrainingConfig) -> None:
    """Refuse adapters whose absence would not be the base model, and packed attention."""
    if model.lora_bias != "none" and training.objective in {"dpo", "kto"}:
        raise RequestError(
            where="model.lora_bias",
            message=f"{training.objective} compares with the model without its adapter, which "
            f"would keep the trained biases of {model.lora_bias}",
            allowed="none",
        )
    if model.attn_implementation == "varlen":
        raise RequestError(
            where="model.attn_implementation",
            message=f"varlen is for packed rows, which {training.objective} has none of",
            allowed="auto, eager, sdpa",
        )


def _train(job: PreferenceJob, net: Any) -> TrainingResult:
    """Train a model and write it as it was at its best."""
    from tasks.training.objectives.assembly import build_loop

    model = job.config
    weights = choose_weights(net, name=model.model_name_or_path, revision=job.base_revision)
    cancellation, watchdog = Cancellation(job.training.grace_seconds), Watchdog()
    loop = build_loop(job, net, weights, [watchdog, cancellation], cancellation)
    set_greedy_generation(net, job.renderer)
    try:
        with cancellation.listen():
            last = _run(job, loop)
    finally:
        watchdog.stop()
    result = finish_training(job, loop, weights, last)
    indices = (index for row in job.plan.rows for index in row)
    passed = {JUDGED_TOKENS: float(job.judged.count_tokens(indices))}
    return replace(result, metrics=result.metrics | passed)


def _run(job: PreferenceJob, loop: PreferenceLoop) -> Checkpoint:
    """Train to the end from the newest good checkpoint; return the last one."""
    plan = job.plan
    start = find_newest_checkpoint(job.checkpoints, loop.training_digest)
    if start and job.is_done(start):
        LOG.info("training is complete: %s", start.folder)
        return start
    LOG.info(
        "%s on %d examples; steps %d to %d of up to %d examples in %d batches",
        job.training.objective,
        plan.num_examples,
        start.step + 1 if start else 1,
        plan.num_steps,
        plan.examples_per_step,
        plan.rows_per_step,
    )
    asked = job.config.attn_implementation
    with ExitStack() as stack:
        if asked != "auto":
            stack.enter_context(use_attention(loop.model, asked))
        keep_cast = job.training.cast_adapter_inputs or not job.computes_in_16_bits
        stack.enter_context(cast_inputs(loop.model, enabled=keep_cast))
        loop.train(resume_from_checkpoint=str(start.folder) if start else None)
    step = loop.state.global_step
    best_step = loop.state.best_global_step or step
    return Checkpoint(name_checkpoint(job.checkpoints, step), step, best_step, 0)
