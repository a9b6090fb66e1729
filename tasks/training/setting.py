"""The memory setting of a training: chosen once, kept for its resumption, lowered when needed."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from configs.errors import RequestError, RunError
from tasks.records.writing import read_json, write_json
from tasks.training.constant_rows import choose_row_budget
from tasks.training.devices import find_free_memory
from tasks.training.fitting import (
    Examples,
    MemorySetting,
    choose_computation,
    choose_setting,
    lower_setting,
)
from tasks.training.job import TrainingJob
from tasks.training.memory import predict_memory
from tasks.training.ranks import count_ranks, is_first, wait_for_all
from tasks.training.shapes import read_shape

LOG = logging.getLogger("hone")
FILE = "memory_setting.json"


class MemoryRanOutError(Exception):
    """The device had too little memory for the setting, which is lowered already: try again."""


def open_setting(job: TrainingJob, model_config: dict[str, Any]) -> MemorySetting:
    """Return the setting of a training: what an interrupted attempt of it had, or a new one.

    Kept, because other rows sum the same losses in another order, and another free memory at the
    time of the resumption must not change the last digit.

    Args:
        job: What to train, with the model's weights on the device already.
        model_config: The content of the base model's config.json.
    """
    path = job.out / FILE
    if is_first() and not _belongs(path, job):
        write_setting(job, _choose_setting(job, model_config))
    wait_for_all()
    record = read_json(path)
    return MemorySetting(record["row_tokens"], record["num_checkpointed"])


def write_setting(job: TrainingJob, setting: MemorySetting) -> None:
    """Keep the setting beside the checkpoints."""
    write_json(job.out / FILE, {"training": job.digest, **asdict(setting)})


def lower_or_refuse(job: TrainingJob, failed: MemorySetting, num_layers: int, step: int) -> None:
    """Keep a leaner setting for the next attempt.

    Args:
        job: What ran out of memory.
        failed: The setting that it had.
        num_layers: Blocks of the model.
        step: The optimiser step that did not end.

    Raises:
        RunError: There is nothing left to give up.
    """
    lower = lower_setting(
        failed,
        num_layers=num_layers,
        max_length=job.training.max_length,
        checkpointing=job.training.gradient_checkpointing,
    )
    if lower is None:
        raise RunError(
            where=f"step {step}",
            message=f"{job.device.name or job.device.kind} has too little memory for rows of "
            f"{failed.row_tokens} tokens with {failed.num_checkpointed} of {num_layers} blocks "
            "computed again",
            hint="hone plan says what would fit; such as model.method=qlora, or a lower "
            "training.max_length or model.lora_r",
        )
    LOG.warning(
        "memory ran out in step %d; it goes on from the last checkpoint with rows of %d tokens and "
        "%d of %d blocks computed again; the effective batch stays the same",
        step, lower.row_tokens, lower.num_checkpointed, num_layers,
    )  # fmt: skip
    write_setting(job, lower)


def _belongs(path: Path, job: TrainingJob) -> bool:
    """Tell whether a kept setting is that of this very training."""
    if not path.is_file():
        return False
    try:
        return bool(read_json(path)["training"] == job.digest)
    except (ValueError, KeyError, TypeError):
        LOG.warning("%s is damaged: memory is planned again", path)
        return False


def _choose_setting(job: TrainingJob, model_config: dict[str, Any]) -> MemorySetting:
    training = job.training
    try:
        shape = read_shape(model_config)
    except RequestError as err:
        LOG.warning("memory is not planned: %s", err)
        is_on = training.gradient_checkpointing == "on" or training.activation_offloading
        num_layers = int(model_config.get("num_hidden_layers", 1))
        return MemorySetting(training.max_length, num_layers if is_on else 0)
    how = choose_computation(job.config, training, device=job.device.kind, dtype=job.dtype)
    examples = Examples(job.train.lengths, job.train.count_trained().tolist(), count_ranks())
    free = _find_usable_memory(job)
    setting = choose_setting(shape, job.config, training, how, examples, free)
    if training.torch_compile:
        budget = choose_row_budget(
            job.train.lengths, training, most=setting.row_tokens, world_size=count_ranks()
        )
        setting = replace(setting, row_tokens=budget)
    load = examples.bound_load(setting, training)
    memory = predict_memory(shape, job.config, training, load, how)
    LOG.info(
        "memory plan: %.2f of %.2f GB that are free; rows of %d tokens, %d of %d blocks computed "
        "again in the backward pass",
        memory.total_bytes / 1e9, free / 1e9, setting.row_tokens, setting.num_checkpointed,
        shape.num_layers,
    )  # fmt: skip
    return setting


def _find_usable_memory(job: TrainingJob) -> int:
    """Return the memory that this training may have, its weights that lie there included."""
    if job.device.kind != "cuda":
        return find_free_memory(job.device)
    free, _ = torch.cuda.mem_get_info()
    return int(free + torch.cuda.memory_reserved())
