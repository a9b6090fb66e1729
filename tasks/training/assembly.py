"""The trainer of a job, put together: arguments, callbacks, memory plan."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from configs.errors import RequestError
from configs.schema import TrainingConfig
from tasks.training.arguments import build_arguments
from tasks.training.callbacks import LogAtCheckpoints, Reporter, StopEarly, StopWhenAsked
from tasks.training.cancellation import Cancellation
from tasks.training.checkpointing import CheckpointFirst
from tasks.training.constant_rows import find_longest_row
from tasks.training.distillation import compute_distilled_losses
from tasks.training.engine import PackedTrainer, Weights
from tasks.training.fitting import MemorySetting
from tasks.training.job import TrainingJob
from tasks.training.loss import compute_token_losses
from tasks.training.memory import estimate_memory
from tasks.training.metering import build_meter
from tasks.training.models import DTYPES
from tasks.training.offloading import OffloadInputs
from tasks.training.plan import plan_validation
from tasks.training.ranks import is_first
from tasks.training.samples import SampleWriter, read_sample_prompts
from tasks.training.tokens import TrainingSet
from tasks.training.watchdog import Watchdog

LOG = logging.getLogger("hone")


def build_trainer(
    job: TrainingJob,
    net: Any,
    weights: Weights,
    cancellation: Cancellation,
    watchdog: Watchdog,
    teacher: Any | None = None,
    *,
    setting: MemorySetting,
) -> PackedTrainer:
    """Return the loop that trains a model.

    Args:
        job: What to train on, and how.
        net: The model, with the attention that it generates with.
        weights: How checkpoints keep its trained weights.
        cancellation: Answers a signal to end.
        watchdog: Ends the process when a step hangs.
        teacher: The frozen model to distil, or None.
        setting: Length of the rows, which the job's plan has, and blocks that are computed again.
    """
    args = build_arguments(
        job.checkpoints,
        job.training,
        job.plan,
        device=job.device.kind,
        dtype=job.dtype,
        has_validation=job.validation is not None,
        use_cache=bool(getattr(net.config, "use_cache", False)),
        activation_checkpointing=setting.num_checkpointed > 0,
    )
    validation = None
    if job.validation:
        rows = plan_validation(job.validation.lengths, job.training)
        validation = TrainingSet(job.validation, rows)
    trainer = PackedTrainer(
        net,
        args,
        plan=job.plan,
        split=job.train,
        validation=validation,
        weights=weights,
        tokenizer=job.formatted / "tokenizer",
        training_digest=job.digest,
        autocast_dtype=DTYPES[job.dtype] if job.computes_in_16_bits else None,
        loss=choose_loss(job.training, teacher),
        pad_to=find_longest_row(job.train.lengths, job.plan) if job.training.torch_compile else 0,
        cancellation=cancellation,
        eval_accumulation_steps=job.training.eval_accumulation_steps,
        save_total_limit=job.training.save_total_limit,
        # Asked after those that log: a checkpoint out of turn must leave no trace in the history.
        callbacks=[
            *build_callbacks(job, net),
            CheckpointFirst(setting.num_checkpointed),
            watchdog,
            cancellation,
        ],
    )
    trainer.meter = build_meter(
        net.config.to_dict(),
        job.config,
        job.training,
        job.device,
        job.dtype,
        num_checkpointed=setting.num_checkpointed,
    )
    return trainer


def choose_loss(training: TrainingConfig, teacher: Any | None) -> Callable[..., Any]:
    """Return what gives the losses of a row's trained tokens."""
    losses = functools.partial(
        compute_token_losses,
        trained_only=training.trained_logits_only,
        chunked=training.chunked_loss,
    )
    if teacher is None:
        return losses
    return functools.partial(
        compute_distilled_losses,
        **losses.keywords,
        teacher=teacher,
        weight=training.distillation_weight,
        temperature=training.distillation_temperature,
    )


def choose_checkpointing(job: TrainingJob, model_config: dict[str, Any]) -> bool:
    """Return whether activations are computed again; `auto`: when they do not fit otherwise."""
    configured = job.training.gradient_checkpointing
    if configured != "auto" or job.training.activation_offloading:
        return configured == "on" or job.training.activation_offloading
    try:
        memory = estimate_memory(model_config, job.config, job.training, dtype=job.dtype)
    except RequestError as err:
        LOG.warning("activation checkpointing stays off: %s", err)
        return False
    fits = memory.fits(job.device.memory_bytes)
    LOG.info(
        "memory plan: %.2f of %.2f GB; activation checkpointing %s",
        memory.total_bytes / 1e9,
        job.device.memory_bytes / 1e9,
        "off" if fits else "on",
    )
    return not fits


def build_callbacks(job: TrainingJob, net: Any) -> list[Any]:
    """Return what happens beside the loop of any objective."""
    training = job.training
    callbacks: list[Any] = [LogAtCheckpoints()]
    if training.activation_offloading:
        callbacks.append(OffloadInputs())
    if is_first():
        callbacks.append(Reporter(job.observer))
    if job.validation and training.early_stopping_patience:
        threshold = training.early_stopping_threshold
        callbacks.append(StopEarly(training.early_stopping_patience, threshold))
    if job.should_stop:
        callbacks.append(StopWhenAsked(job.should_stop))
    prompts = read_sample_prompts(job.formatted, training.num_sample_generations)
    # All processes take part in an answer of a model whose layers they share.
    if job.validation and prompts and (is_first() or training.fsdp):
        attention = net.config._attn_implementation  # noqa: SLF001 - transformers has no getter
        callbacks.append(SampleWriter(prompts, job.observer, job.out, attention))
    return callbacks
