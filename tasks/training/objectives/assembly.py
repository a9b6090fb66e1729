"""The trainer of a preference objective, put together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import TrainingArguments

from configs.errors import RequestError
from tasks.training.arguments import build_arguments
from tasks.training.assembly import build_callbacks, choose_checkpointing
from tasks.training.cancellation import Cancellation
from tasks.training.engine import Weights
from tasks.training.models import DTYPES, load_base
from tasks.training.objectives.answers import JudgedSplit
from tasks.training.objectives.batches import (
    BatchSet,
    Collate,
    collate_labelled,
    collate_pairs,
    collate_sides,
)
from tasks.training.objectives.job import PreferenceJob
from tasks.training.objectives.loop import PreferenceLoop
from tasks.training.objectives.trainers import TRAINERS, NoReference

COLLATORS: dict[str, Collate] = {
    "dpo": collate_pairs,
    "orpo": collate_sides,
    "kto": collate_labelled,
}
LOSS_KEYS = ("beta", "loss_type", "label_smoothing", "desirable_weight", "undesirable_weight")


def build_loop(
    job: PreferenceJob, net: Any, weights: Weights, callbacks: list[Any], cancellation: Cancellation
) -> PreferenceLoop:
    """Return the loop that trains a model on judged answers.

    Args:
        job: What to train on, and how.
        net: The model; TRL changes it, see `undo_changes`.
        weights: How checkpoints keep its trained weights.
        callbacks: Asked after those of every training.
        cancellation: Answers a signal to end.

    Raises:
        RequestError: TRL cannot train this model.
    """
    trainer, config = TRAINERS[job.training.objective]
    try:
        loop: PreferenceLoop = trainer(
            model=net,
            args=_build_config(job, config, net),
            plan=job.plan,
            split=job.train,
            batches=_list_batches(job, job.judged, job.plan.rows),
            validation=_list_validation(job),
            weights=weights,
            tokenizer=job.formatted / "tokenizer",
            training_digest=job.digest,
            autocast_dtype=DTYPES[job.dtype] if job.computes_in_16_bits else None,
            loss=None,  # TRL's
            pad_to=0,
            cancellation=cancellation,
            eval_accumulation_steps=None,
            save_total_limit=job.training.save_total_limit,
            callbacks=[*build_callbacks(job, net), *callbacks],
            trl_arguments=_list_trl_arguments(job, net),
        )
    except (ValueError, NotImplementedError) as err:
        raise RequestError(
            where="training.objective", message=f"TRL refuses this training: {err}"
        ) from err
    for parameter in net.parameters():
        if parameter.requires_grad:
            # TRL trains the adapter of a quantised base in bfloat16: small updates vanish there.
            parameter.data = parameter.data.float()
    return loop


@contextmanager
def undo_changes(net: Any) -> Iterator[None]:
    """Take back what TRL changes in a model, and let dropout fall on the adapter alone.

    With dropout in the base, the answers' reference would be noise.
    """
    base = net.get_base_model() if isinstance(net, PeftModel) else net
    text_config = base.config.get_text_config()
    pad_token_id = text_config.pad_token_id
    own_forward = vars(base).get("forward")
    dropouts = {
        module: module.p
        for name, module in net.named_modules()
        if isinstance(module, torch.nn.Dropout) and "lora_dropout" not in name
    }
    for module in dropouts:
        module.p = 0.0
    try:
        yield
    finally:
        text_config.pad_token_id = pad_token_id
        vars(base).pop("forward", None)  # TRL's head that never makes the logits
        if own_forward is not None:
            base.forward = own_forward
        for module, p in dropouts.items():
            module.p = p


def _build_config(job: PreferenceJob, config: Any, net: Any) -> Any:
    """Return our arguments as TRL's, with the keys of its loss."""
    args = build_arguments(
        job.checkpoints,
        job.training,
        job.plan,
        device=job.device.kind,
        dtype=job.dtype,
        has_validation=job.judged_validation is not None,
        use_cache=bool(getattr(net.config, "use_cache", False)),
        activation_checkpointing=choose_checkpointing(_widen(job), net.config.to_dict()),
    )
    given = {f.name: getattr(args, f.name) for f in fields(TrainingArguments) if f.init}
    # The loop has batches and their order from the plan; TRL wants to know of both.
    given["per_device_train_batch_size"] = job.training.per_device_train_batch_size
    given["train_sampling_strategy"] = "sequential"
    own = {name: getattr(job.training, name) for name in LOSS_KEYS}
    own = {name: value for name, value in own.items() if value is not None}
    built = config(
        **given,
        **own,
        max_length=job.training.max_length,  # nothing is longer: it has been checked
        disable_dropout=False,  # see undo_changes
    )
    built._n_gpu = min(built.n_gpu, 1)  # noqa: SLF001 - as in build_arguments
    return built


def _widen(job: PreferenceJob) -> PreferenceJob:
    """Return the job as the memory plan should see it: a row is a padded micro-batch."""
    sides = 1 if job.training.objective == "kto" else 2
    tokens = sides * job.training.per_device_train_batch_size * job.judged.longest_tokens
    return replace(job, training=job.training.model_copy(update={"max_length": tokens}))


def _list_trl_arguments(job: PreferenceJob, net: Any) -> dict[str, Any]:
    """Return the tokenizer and, where no adapter can be turned off, a reference model."""
    own: dict[str, Any] = {"processing_class": job.renderer.tokenizer}
    if job.training.objective == "orpo":
        return own
    if isinstance(net, PeftModel):
        return own | {"ref_model": NoReference(net.config)}
    revision = None if Path(job.base_location).is_dir() else job.base_revision
    reference = load_base(
        job.base_location, dtype="float32", device=job.device.kind, revision=revision
    )
    return own | {"ref_model": reference.requires_grad_(requires_grad=False)}


def _list_batches(job: PreferenceJob, judged: JudgedSplit, rows: Any) -> BatchSet:
    collate = COLLATORS[job.training.objective]
    return BatchSet(judged, tuple(rows), collate, job.renderer.pad_token_id)


def _list_validation(job: PreferenceJob) -> BatchSet | None:
    judged = job.judged_validation
    if judged is None:
        return None
    size, count = job.training.per_device_train_batch_size, len(judged.split.lengths)
    rows = [tuple(range(i, min(i + size, count))) for i in range(0, count, size)]
    return _list_batches(job, judged, rows)
