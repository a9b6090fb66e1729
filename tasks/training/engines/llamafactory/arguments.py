"""A job in LLaMA-Factory's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.errors import RequestError
from tasks.training.engines.llamafactory.checks import check_engine_args
from tasks.training.job import TrainingJob

ATTENTION = {"auto": "auto", "eager": "disabled", "sdpa": "sdpa"}


def build_arguments(
    job: TrainingJob,
    *,
    data: Path,
    tokens: Path,
    start: Path | None,
    activation_checkpointing: bool,
) -> dict[str, Any]:
    """Return the keys and values of LLaMA-Factory's YAML for a job.

    Args:
        job: What to train on, and how; from a checked request.
        data: The folder of `dataset_info.json`.
        tokens: Our tokens, as it saves its own.
        start: The checkpoint to go on from, or None.
        activation_checkpointing: Whether activations are computed again in the backward pass.

    Raises:
        RequestError: `training.engine_args` holds a key that is not the engine's to set.
    """
    ours = (
        {
            "stage": "sft",
            "do_train": True,
            "dataset_dir": str(data),
            "dataset": "train",
            "eval_dataset": "validation" if job.validation else None,
            "tokenized_path": str(tokens),
            "template": "empty",  # the tokens are rendered; no other may change the tokenizer
            "cutoff_len": job.training.max_length,
            "output_dir": str(job.checkpoints),
            "overwrite_output_dir": True,
            "resume_from_checkpoint": str(start) if start else None,
            "report_to": "none",
            "push_to_hub": False,
            "disable_tqdm": True,
            "plot_loss": False,
        }
        | _translate_model(job)
        | _translate_optimisation(job)
        | _translate_cadence(job)
        | {"disable_gradient_checkpointing": not activation_checkpointing}
    )
    return ours | check_engine_args(job.config, job.training, frozenset(ours))


def _translate_model(job: TrainingJob) -> dict[str, Any]:
    config = job.config
    found: dict[str, Any] = {
        "model_name_or_path": str(job.base_location),
        "trust_remote_code": False,
        "flash_attn": ATTENTION[config.attn_implementation],
        "bf16": job.dtype == "bfloat16",
        "fp16": job.dtype == "float16",
        "use_cpu": job.device.kind == "cpu",
        "finetuning_type": "full" if config.method == "full" else "lora",
    }
    if job.base_revision and not isinstance(job.base_location, Path):
        found["model_revision"] = job.base_revision
    if config.method == "full":
        return found
    targets = config.lora_target_modules
    found |= {
        "lora_rank": config.lora_r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "lora_target": _join_names(targets) if targets != "all-linear" else "all",
        "additional_target": _join_names(config.lora_modules_to_save) or None,
        "use_rslora": config.use_rslora,
        "use_dora": config.use_dora,
    }
    if config.method == "qlora":
        found |= {
            "quantization_method": "bnb",
            "quantization_bit": 4,
            "quantization_type": config.bnb_4bit_quant_type,
            "double_quantization": config.use_bnb_nested_quant,
        }
    return found


def _translate_optimisation(job: TrainingJob) -> dict[str, Any]:
    training = job.training
    same = (
        "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
        "lr_scheduler_type", "lr_scheduler_kwargs", "optim", "weight_decay", "adam_beta1",
        "adam_beta2", "adam_epsilon", "max_grad_norm", "neftune_noise_alpha", "tf32", "seed",
        "dataloader_num_workers", "dataloader_pin_memory",
    )  # fmt: skip
    found = {name: getattr(training, name) for name in same}
    return found | {
        "max_steps": job.plan.num_steps,
        "warmup_steps": job.plan.warmup_steps,
        "data_seed": training.seed,
        "per_device_eval_batch_size": training.per_device_train_batch_size,
        "eval_accumulation_steps": training.eval_accumulation_steps,
        "include_num_input_tokens_seen": "non_padding",
    }


def _translate_cadence(job: TrainingJob) -> dict[str, Any]:
    """Return when to log, validate, save and stop."""
    plan, training = job.plan, job.training
    found: dict[str, Any] = {
        "logging_strategy": "steps",
        "logging_steps": plan.logging_steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": plan.save_steps,
        "save_total_limit": training.save_total_limit,
        "eval_strategy": "no",
        "restore_callback_states_from_checkpoint": True,
    }
    if job.validation is None:
        return found
    if plan.save_steps != plan.eval_steps:
        raise RequestError(
            where="training.save_steps",
            message=f"checkpoints every {plan.save_steps} steps, validations every "
            f"{plan.eval_steps}",
            allowed="the same for both with training.engine: llamafactory",
        )
    return found | {
        "eval_strategy": "steps",
        "eval_steps": plan.eval_steps,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "early_stopping_steps": training.early_stopping_patience,
    }


def _join_names(names: str | tuple[str, ...]) -> str:
    return names if isinstance(names, str) else ",".join(names)
