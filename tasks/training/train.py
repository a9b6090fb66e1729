"""Training from formatted data and a base model to a trained model with its record."""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import set_seed

from configs.errors import RunError
from configs.schema import ModelConfig, TrainingConfig
from tasks.records.observer import Observer, SilentObserver
from tasks.records.writing import read_json, write_jsonl
from tasks.training.adapters import cast_inputs, cast_whole_modules
from tasks.training.assembly import build_trainer
from tasks.training.attention import choose_attention, use_attention
from tasks.training.checkpoints import (
    STATE_FILE,
    Checkpoint,
    explain_damage,
    find_newest_checkpoint,
    name_checkpoint,
)
from tasks.training.devices import Device, detect_device, resolve_dtype
from tasks.training.engine import PackedTrainer, Weights, compute_perplexity
from tasks.training.guards import check_packing
from tasks.training.job import (
    TrainingJob,
    load_formatted_renderer,
    open_model,
    open_splits,
)
from tasks.training.models import DTYPES, count_parameters
from tasks.training.weights import choose_weights, set_greedy_generation, write_model

LOG = logging.getLogger("hone")


@dataclass(frozen=True)
class TrainingResult:
    """What a training made.

    Attributes:
        num_parameters: Of the model with its adapter.
        num_trainable_parameters: Those that were trained.
        num_bytes: Size of the weights in `model/`.
        num_steps: Optimiser steps done; fewer than planned when it stopped early.
        best_step: The step whose weights are in `model/`.
        metrics: `train_loss` (mean over all steps), `eval_loss` and `perplexity` of the best step,
            `tokens_per_second` where this process trained.
        history_path: One logged record a line.
    """

    num_parameters: int
    num_trainable_parameters: int
    num_bytes: int
    num_steps: int
    best_step: int
    metrics: dict[str, float]
    history_path: Path


def train_model(
    *,
    formatted: Path,
    base_location: Path | str,
    out: Path,
    model: ModelConfig,
    training: TrainingConfig,
    base_revision: str | None = None,
    observer: Observer | None = None,
    device: Device | None = None,
) -> TrainingResult:
    """Train a model, or go on with a training that was interrupted, and write it with its record.

    Args:
        formatted: The folder that formatting wrote.
        base_location: The base model's folder, or its hub id.
        out: Gets `model/`, `checkpoints/` (with the links `best` and `last`), `logs/`,
            `history.jsonl` and `samples.md`. It may hold an interrupted earlier attempt.
        model: Method and adapter.
        training: The optimisation.
        base_revision: The base model's pinned revision, written beside the adapter.
        observer: Gets progress, metrics and sample generations.
        device: Where to train; by default what this machine has.

    Raises:
        RequestError: The data, the base model or the configuration cannot be trained on.
        RunError: A loss is not finite; or the best checkpoint was damaged meanwhile.
    """
    device = device or detect_device()
    train, validation, plan = open_splits(formatted, training)
    job = TrainingJob(
        formatted=formatted,
        out=out,
        base_location=base_location,
        base_revision=base_revision,
        config=model,
        training=training,
        device=device,
        dtype=resolve_dtype(model.dtype, device),
        train=train,
        validation=validation,
        plan=plan,
        observer=observer or SilentObserver(),
    )
    set_seed(training.seed)
    with open_model(job) as net:
        return _train(job, net)


def _train(job: TrainingJob, net: Any) -> TrainingResult:
    """Train a model and write it as it was at its best."""
    model = job.config
    set_greedy_generation(net, load_formatted_renderer(job.formatted))
    weights = choose_weights(net, name=model.model_name_or_path, revision=job.base_revision)
    trainer = build_trainer(job, net, weights)
    last = _run(job, trainer)
    _load_best(job, weights, last)
    if model.method == "full":
        net.to(DTYPES[job.dtype])
    else:
        cast_whole_modules(net, DTYPES[job.dtype])
    num_bytes = write_model(net, weights, job.formatted / "tokenizer", job.out / "model")
    return _record_result(job, trainer, last, num_bytes)


def _run(job: TrainingJob, trainer: PackedTrainer) -> Checkpoint:
    """Train to the end from the newest good checkpoint; return the last one."""
    patience, plan = job.training.early_stopping_patience, job.plan
    start = find_newest_checkpoint(job.checkpoints, trainer.training_digest)
    is_stopped = start and patience is not None and start.num_bad_validations >= patience
    if start and (start.step >= plan.num_steps or is_stopped):
        LOG.info("training is complete: %s", start.folder)
        return start
    LOG.info(
        "%d examples; steps %d to %d of up to %d examples in %d rows",
        plan.num_examples,
        start.step + 1 if start else 1,
        plan.num_steps,
        plan.examples_per_step,
        plan.rows_per_step,
    )
    net = trainer.model
    base = net.get_base_model() if hasattr(net, "get_base_model") else net
    packing = job.training.packing
    own_attention = net.config._attn_implementation  # noqa: SLF001 - there is no getter
    attention = choose_attention(base, job.config.attn_implementation, packing=packing)
    with ExitStack() as stack:
        stack.enter_context(use_attention(net, attention))
        stack.enter_context(cast_inputs(net, enabled=not job.computes_in_16_bits))
        with trainer.autocast():
            check_packing(
                net,
                job.train,
                job.dtype,
                trainer.args.device,
                own_attention=own_attention,
                packing=packing,
            )
        trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
    step = trainer.state.global_step
    best_step = trainer.state.best_global_step or step
    return Checkpoint(name_checkpoint(job.checkpoints, step), step, best_step, 0)


def _load_best(job: TrainingJob, weights: Weights, last: Checkpoint) -> None:
    """Put the weights of the best checkpoint into the model."""
    best = name_checkpoint(job.checkpoints, last.best_step)
    if reason := explain_damage(best, job.digest):
        raise RunError(
            where=str(best),
            message=f"the best checkpoint was damaged meanwhile: {reason}",
            hint="run again: training goes on from the newest good checkpoint",
        )
    weights.read(best)


def _record_result(
    job: TrainingJob, trainer: PackedTrainer, last: Checkpoint, num_bytes: int
) -> TrainingResult:
    history = read_json(last.folder / STATE_FILE)["log_history"]
    history_path = job.out / "history.jsonl"
    write_jsonl(history_path, history)
    metrics = {"train_loss": compute_mean_loss(history)}
    for record in history:
        if record["step"] == last.best_step and "eval_loss" in record:
            metrics["eval_loss"] = record["eval_loss"]
            metrics["perplexity"] = compute_perplexity(record["eval_loss"])
    if trainer.meter.seconds:
        metrics["tokens_per_second"] = trainer.meter.tokens / trainer.meter.seconds
        metrics["validation_seconds"] = trainer.validation_seconds
    total, trainable = count_parameters(trainer.model)
    LOG.info("best step %d of %d; %.2f MB of weights", last.best_step, last.step, num_bytes / 1e6)
    return TrainingResult(
        num_parameters=total,
        num_trainable_parameters=trainable,
        num_bytes=num_bytes,
        num_steps=last.step,
        best_step=last.best_step,
        metrics=metrics,
        history_path=history_path,
    )


def compute_mean_loss(history: list[dict[str, Any]]) -> float:
    """Return the mean training loss of all steps, from logged means over the steps in between.

    >>> compute_mean_loss([{"step": 10, "loss": 2.0}, {"step": 15, "loss": 1.0}])
    1.6666666666666667
    """
    logged = [(record["step"], record["loss"]) for record in history if "loss" in record]
    steps = [step for step, _ in logged]
    widths = [step - before for before, step in zip([0, *steps[:-1]], steps, strict=True)]
    total = math.fsum(w * loss for w, (_, loss) in zip(widths, logged, strict=True))
    return float(total / steps[-1])
