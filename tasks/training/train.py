"""Training from formatted data and a base model to a trained model with its record."""

from __future__ import annotations

import gc
import logging
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from configs.schema import ModelConfig, TrainingConfig
from tasks.records.observer import Observer, SilentObserver
from tasks.training.adapters import cast_inputs
from tasks.training.arguments import check_optimization
from tasks.training.assembly import build_trainer
from tasks.training.attention import choose_attention, use_attention
from tasks.training.cancellation import STOP_FILE, Cancellation
from tasks.training.checkpoints import (
    Checkpoint,
    find_newest_checkpoint,
    name_checkpoint,
)
from tasks.training.devices import Device, detect_device, resolve_dtype
from tasks.training.distillation import open_teacher
from tasks.training.engine import PackedTrainer
from tasks.training.guards import check_packing
from tasks.training.job import (
    TrainingJob,
    load_formatted_renderer,
    open_model,
    open_splits,
)
from tasks.training.levers import check_levers, compile_blocks
from tasks.training.noise import add_noise
from tasks.training.plan import plan_training
from tasks.training.ranks import count_ranks, find_rank, is_first
from tasks.training.result import TrainingResult, finish_training
from tasks.training.setting import MemoryRanOutError, lower_or_refuse, open_setting
from tasks.training.stopping import ShouldStop
from tasks.training.watchdog import Watchdog
from tasks.training.weights import choose_weights, set_greedy_generation

LOG = logging.getLogger("hone")


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
    teacher_location: Path | str | None = None,
    teacher_revision: str | None = None,
    init_adapter: Path | None = None,
    should_stop: ShouldStop | None = None,
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
        teacher_location: The folder of the model to distil, or its hub id; None for none.
        teacher_revision: Its pinned revision.
        init_adapter: The folder of the adapter to start from; None for a new one.
        should_stop: Asked after each validation but the last; LLaMA-Factory asks nobody.

    Raises:
        RequestError: The data, the base model or the configuration cannot be trained on.
        TrainingStopped: `should_stop` said so.
        RunError: A loss is not finite; or the best checkpoint was damaged meanwhile.
    """
    device = device or detect_device()
    check_levers(training, device)
    if training.engine == "native":
        check_optimization(training)
    if training.objective != "sft":
        from tasks.training.objectives.preference import train_preference

        return train_preference(
            formatted, base_location, out, model, training, base_revision, observer, device,
            should_stop,
        )  # fmt: skip
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
        teacher_location=teacher_location,
        teacher_revision=teacher_revision,
        init_adapter=init_adapter,
        should_stop=should_stop,
    )
    if training.engine == "llamafactory":
        from tasks.training.engines.llamafactory.train import train_with_llamafactory

        return train_with_llamafactory(job)
    while True:
        set_seed(training.seed)
        try:
            return _train_once(job)
        except MemoryRanOutError:
            if count_ranks() > 1:  # the others wait for this one; the launcher starts all again
                raise
        release_memory()


def _train_once(job: TrainingJob) -> TrainingResult:
    """Train on models that nothing refers to afterwards: the next attempt needs their memory."""
    with open_model(job) as net, open_teacher(job) as teacher:
        return _train(job, net, teacher)


def _train(job: TrainingJob, net: Any, teacher: Any | None) -> TrainingResult:
    """Train a model and write it as it was at its best."""
    set_greedy_generation(net, load_formatted_renderer(job.formatted))
    name = job.config.model_name_or_path
    weights = choose_weights(net, name=name, revision=job.base_revision)
    cancellation = Cancellation(job.training.grace_seconds, job.out / STOP_FILE)
    watchdog = Watchdog()
    setting = open_setting(job, net.config.to_dict())
    plan = plan_training(job.train.lengths, job.training, row_tokens=setting.row_tokens)
    job = replace(job, plan=plan)
    trainer = build_trainer(job, net, weights, cancellation, watchdog, teacher, setting=setting)
    if not is_first():  # each process drops out other activations; the weights are the same
        set_seed(job.training.seed + find_rank())
    try:
        with cancellation.listen():
            last = _run(job, trainer)
    except torch.OutOfMemoryError:
        num_layers = net.config.get_text_config().num_hidden_layers
        lower_or_refuse(job, setting, num_layers, trainer.state.global_step + 1)
        raise MemoryRanOutError from None
    finally:
        watchdog.stop()
    return finish_training(job, trainer, weights, last)


def release_memory() -> None:
    """Give back what a failed attempt held on the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _run(job: TrainingJob, trainer: PackedTrainer) -> Checkpoint:
    """Train to the end from the newest good checkpoint; return the last one."""
    plan = job.plan
    start = find_newest_checkpoint(job.checkpoints, trainer.training_digest)
    if start and job.is_done(start):
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
        keep_cast = job.training.cast_adapter_inputs or not job.computes_in_16_bits
        stack.enter_context(cast_inputs(net, enabled=keep_cast))
        stack.enter_context(add_noise(net, job.training.neftune_noise_alpha))
        with trainer.autocast():
            check_packing(
                net,
                job.train,
                job.dtype,
                trainer.args.device,
                own_attention=own_attention,
                packing=packing,
            )
        stack.enter_context(
            compile_blocks(
                base,
                enabled=job.training.torch_compile,
                backend=job.training.torch_compile_backend,
            )
        )
        trainer.train(resume_from_checkpoint=str(start.folder) if start else None)
    step = trainer.state.global_step
    best_step = trainer.state.best_global_step or step
    return Checkpoint(name_checkpoint(job.checkpoints, step), step, best_step, 0)
