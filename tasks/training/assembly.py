"""The trainer of a job, put together: arguments, callbacks, memory plan."""

from __future__ import annotations

import logging
from typing import Any

from configs.errors import RequestError
from tasks.training.arguments import build_arguments
from tasks.training.callbacks import LogAtCheckpoints, Reporter, StopEarly
from tasks.training.engine import PackedTrainer, TrainingSet, Weights
from tasks.training.job import TrainingJob
from tasks.training.memory import estimate_memory
from tasks.training.models import DTYPES
from tasks.training.plan import plan_validation
from tasks.training.samples import SampleWriter, read_sample_prompts

LOG = logging.getLogger("hone")


def build_trainer(job: TrainingJob, net: Any, weights: Weights) -> PackedTrainer:
    """Return the loop that trains a model.

    Args:
        job: What to train on, and how.
        net: The model, with the attention that it generates with.
        weights: How checkpoints keep its trained weights.
    """
    args = build_arguments(
        job.checkpoints,
        job.training,
        job.plan,
        device=job.device.kind,
        dtype=job.dtype,
        has_validation=job.validation is not None,
        use_cache=bool(getattr(net.config, "use_cache", False)),
        activation_checkpointing=choose_checkpointing(job, net.config.to_dict()),
    )
    validation = None
    if job.validation:
        rows = plan_validation(job.validation.lengths, job.training)
        validation = TrainingSet(job.validation, rows)
    return PackedTrainer(
        net,
        args,
        plan=job.plan,
        split=job.train,
        validation=validation,
        weights=weights,
        tokenizer=job.formatted / "tokenizer",
        training_digest=job.digest,
        autocast_dtype=DTYPES[job.dtype] if job.computes_in_16_bits else None,
        save_total_limit=job.training.save_total_limit,
        callbacks=_build_callbacks(job, net),
    )


def choose_checkpointing(job: TrainingJob, model_config: dict[str, Any]) -> bool:
    """Return whether activations are computed again; `auto`: when they do not fit otherwise."""
    configured = job.training.gradient_checkpointing
    if configured != "auto":
        return configured == "on"
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


def _build_callbacks(job: TrainingJob, net: Any) -> list[Any]:
    training = job.training
    callbacks: list[Any] = [LogAtCheckpoints(), Reporter(job.observer, job.out / "logs")]
    if job.validation and training.early_stopping_patience:
        threshold = training.early_stopping_threshold
        callbacks.append(StopEarly(training.early_stopping_patience, threshold))
    prompts = read_sample_prompts(job.formatted, training.num_sample_generations)
    if job.validation and prompts:
        attention = net.config._attn_implementation  # noqa: SLF001 - transformers has no getter
        callbacks.append(SampleWriter(prompts, job.observer, job.out, attention))
    return callbacks
