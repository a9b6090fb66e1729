"""What LLaMA-Factory cannot honour, and what is not its own to set: refused by the key."""

from __future__ import annotations

from typing import Any

import yaml

from configs.errors import RequestError
from configs.foreign_keys import ONLY_THE_GATE_PUBLISHES, PUBLISHING_KEYS, find_foreign
from configs.schema import ModelConfig, TrainingConfig
from tasks.training.adapters import EMBEDDING_NAMES

WHERE = "training.engine_args"
# Fields that are translated, or that hone itself carries out around the engine.
KNOWN_MODEL_KEYS = frozenset(
    {
        "model_name_or_path", "model_revision", "method", "dtype", "attn_implementation",
        "chat_template", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules",
        "lora_modules_to_save", "use_rslora", "use_dora", "bnb_4bit_quant_type",
        "use_bnb_nested_quant",
    }
)  # fmt: skip
KNOWN_TRAINING_KEYS = frozenset(
    {
        "engine", "engine_args", "num_train_epochs", "max_steps", "per_device_train_batch_size",
        "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs",
        "warmup_ratio", "warmup_steps", "optim", "weight_decay", "adam_beta1", "adam_beta2",
        "adam_epsilon", "max_grad_norm", "max_length", "packing", "assistant_only_loss",
        "gradient_checkpointing", "neftune_noise_alpha", "tf32", "eval_strategy", "eval_steps",
        "save_strategy", "save_steps", "greater_is_better", "eval_accumulation_steps",
        "logging_steps", "save_total_limit", "early_stopping_patience", "dataloader_num_workers",
        "dataloader_pin_memory", "grace_seconds", "num_sample_generations", "seed",
    }
)  # fmt: skip
DATA_KEYS = frozenset(
    {
        "media_dir", "train_on_prompt", "mask_history", "streaming", "buffer_size", "mix_strategy",
        "interleave_probs", "overwrite_cache", "preprocessing_batch_size",
        "preprocessing_num_workers", "max_samples", "val_size", "eval_on_each_dataset", "packing",
        "neat_packing", "tool_format", "default_system", "enable_thinking", "preserve_thinking",
        "ignore_pad_token_for_loss",
    }
)  # fmt: skip
OTHER_BASE_KEYS = frozenset(
    {
        "adapter_name_or_path", "adapter_folder", "create_new_adapter", "resize_vocab",
        "add_tokens", "add_special_tokens", "new_special_tokens_config", "rope_scaling",
        "mixture_of_depths", "use_llama_pro", "pissa_init", "pissa_convert", "train_from_scratch",
    }
)  # fmt: skip
SECRET_KEYS = frozenset({"hf_hub_token", "ms_hub_token", "om_hub_token", "swanlab_api_key"})
MANY_DEVICES_KEYS = frozenset({"deepspeed", "fsdp", "fsdp_config", "use_mca", "ray_num_workers"})
REFUSED = (
    (PUBLISHING_KEYS, ONLY_THE_GATE_PUBLISHES),
    (frozenset({"trust_remote_code"}), "no code from a model repository is run"),
    (SECRET_KEYS, "secrets never stand in a configuration; use environment variables"),
    (frozenset({"use_swanlab"}), "hone tracks the run; see tracking.report_to"),
    (DATA_KEYS, "the data are rendered, cut and tokenised by hone"),
    (OTHER_BASE_KEYS, "the base model would no longer be the one that is evaluated and published"),
    (MANY_DEVICES_KEYS, "the engine trains on one device"),
)
STAGES = ("sft", "ppo")


def check_request(model: ModelConfig, training: TrainingConfig) -> None:
    """Refuse a configuration that LLaMA-Factory would train otherwise than it says.

    Args:
        model: Method and adapter.
        training: The optimisation.

    Raises:
        RequestError: With every key that it cannot honour.
    """
    problems = [
        *_find_unknown("model", model, KNOWN_MODEL_KEYS),
        *_find_unknown("training", training, KNOWN_TRAINING_KEYS),
    ]
    if model.attn_implementation == "varlen":
        problems.append("model.attn_implementation: varlen; allowed: auto, eager, sdpa")
    targets = model.lora_target_modules
    if isinstance(targets, str) and targets != "all-linear":
        problems.append(f"model.lora_target_modules: {targets}; allowed: all-linear, or a list")
    if training.save_strategy == "best":
        problems.append("training.save_strategy: best; allowed: steps, epoch")
    if problems:
        raise RequestError(
            where="training.engine",
            message="llamafactory cannot honour this configuration",
            hint="change these keys, or use training.engine: native",
            problems=tuple(problems),
        )


def check_base(model: ModelConfig, base: Any, dtype: str) -> None:
    """Refuse a base model that the engine would train otherwise than the configuration says.

    Args:
        model: Method and adapter.
        base: The base model's configuration.
        dtype: The precision that it is to be trained in.

    Raises:
        RequestError: Its embedding would come apart from its head, or its precision is another.
    """
    text = base.get_text_config()
    if text.tie_word_embeddings and EMBEDDING_NAMES & set(model.lora_modules_to_save):
        raise RequestError(
            where="model.lora_modules_to_save",
            message="the base model's embedding is its output head as well, and with "
            "training.engine: llamafactory the two would come apart",
            hint="use training.engine: native",
        )
    stored = str(text.dtype or "float32").removeprefix("torch.")
    if dtype == "float32" and stored != "float32" and model.method != "full":
        raise RequestError(
            where="model.dtype",
            message=f"float32, and llamafactory trains this base as it is stored: {stored}",
            allowed=f"{stored} with training.engine: llamafactory",
        )


def check_engine_args(
    model: ModelConfig, training: TrainingConfig, ours: frozenset[str]
) -> dict[str, Any]:
    """Return the engine's own keys, as they go into the YAML.

    Args:
        model: The method that they have to go with.
        training: Where they stand.
        ours: The keys that hone writes.

    Raises:
        RequestError: With every key or value that is not the engine's to set.
    """
    args, problems = training.engine_args, []
    for key in sorted(args):
        reason = next((text for keys, text in REFUSED if key in keys), "")
        if key == "finetuning_type":
            is_freeze = args[key] == "freeze" and model.method == "full"
            reason = "" if is_freeze else "allowed: freeze, with model.method: full"
        elif key == "stage":
            reason = _check_stage(args[key], training)
        elif not reason and key in ours:
            reason = _name_our_key(key)
        if reason:
            value = "" if key in SECRET_KEYS else f": {args[key]!r}"
            problems.append(f"{key}{value}; {reason}")
    if problems:
        raise RequestError(
            where=WHERE,
            message="these are not for the engine to set",
            problems=tuple(problems),
        )
    return {key: _read_value(args[key]) for key in sorted(args)}


def _read_value(value: Any) -> Any:
    """Return a value as YAML reads it: presets and `--set` bring it as text."""
    return yaml.safe_load(value) if isinstance(value, str) else value


def _check_stage(stage: Any, training: TrainingConfig) -> str:
    if stage not in STAGES:
        return f"allowed: {', '.join(STAGES)}"
    if stage == "ppo" and training.eval_strategy != "no":
        return "it validates nothing; write training.eval_strategy: no as well"
    return ""


def _find_unknown(section: str, config: Any, known: frozenset[str]) -> list[str]:
    """Return a line for each value that is neither translated nor the default."""
    fields = type(config).model_fields
    return [
        f"{section}.{name}: {getattr(config, name)!r}; the engine has no equivalent; default: "
        f"{fields[name].default!r}"
        for name in sorted(set(fields) - known)
        if getattr(config, name) != fields[name].default
    ]


def _name_our_key(key: str) -> str:
    foreign = find_foreign(key)
    keys = foreign.keys if foreign else ()
    own = keys or tuple(
        f"{section}.{key}"
        for section, config in (("model", ModelConfig), ("training", TrainingConfig))
        if key in config.model_fields
    )
    return f"write {', '.join(own)} instead" if own else "hone sets it"
