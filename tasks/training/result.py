"""What a training made, from its last checkpoint and its loop."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import RunError
from tasks.records.writing import read_json, write_jsonl
from tasks.training.adapters import cast_whole_modules
from tasks.training.checkpoints import STATE_FILE, Checkpoint, explain_damage, name_checkpoint
from tasks.training.engine import PackedTrainer, Weights
from tasks.training.job import TrainingJob
from tasks.training.models import DTYPES, count_parameters
from tasks.training.ranks import is_first, sum_over_ranks
from tasks.training.weights import write_model

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


def finish_training(
    job: TrainingJob, trainer: PackedTrainer, weights: Weights, last: Checkpoint
) -> TrainingResult:
    """Write the model as it was at its best, and say what was made.

    Args:
        job: What was trained.
        trainer: The loop that trained it.
        weights: How checkpoints keep its trained weights.
        last: The last checkpoint.

    Raises:
        RunError: The best checkpoint was damaged meanwhile.
    """
    net = trainer.model
    load_best(job, weights, last)
    if job.config.method == "full":
        net.to(DTYPES[job.dtype])
    else:
        cast_whole_modules(net, DTYPES[job.dtype])
    num_bytes = 0
    if is_first():
        num_bytes = write_model(net, weights, job.formatted / "tokenizer", job.out / "model")
    return record_result(job, trainer, last, num_bytes)


def load_best(job: TrainingJob, weights: Weights, last: Checkpoint) -> None:
    """Put the weights of the best checkpoint into the model."""
    best = name_checkpoint(job.checkpoints, last.best_step)
    if reason := explain_damage(best, job.digest):
        raise RunError(
            where=str(best),
            message=f"the best checkpoint was damaged meanwhile: {reason}",
            hint="run again: training goes on from the newest good checkpoint",
        )
    weights.read(best)


def record_result(
    job: TrainingJob, trainer: PackedTrainer, last: Checkpoint, num_bytes: int
) -> TrainingResult:
    """Return what a training made, and write its history.

    Args:
        job: What was trained.
        trainer: The loop that trained it.
        last: The last checkpoint.
        num_bytes: Size of the weights in `model/`.
    """
    history = read_json(last.folder / STATE_FILE)["log_history"]
    history_path = job.out / "history.jsonl"
    if is_first():
        write_jsonl(history_path, history)
    metrics = {"train_loss": compute_mean_loss(history)}
    for record in history:
        if record["step"] == last.best_step and "eval_loss" in record:
            metrics |= {name: value for name, value in record.items() if name.startswith("eval_")}
    if "eval_perplexity" in metrics:
        metrics["perplexity"] = metrics.pop("eval_perplexity")
    if trainer.meter.seconds:
        speed = trainer.meter.tokens / trainer.meter.seconds
        metrics["tokens_per_second"] = sum_over_ranks([speed])[0]
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
