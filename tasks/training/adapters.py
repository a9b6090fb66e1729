"""Adapters: put on a base model, trained without needless casts, saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from peft import LoraConfig, PeftModel, PeftModelForCausalLM, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import (
    ModulesToSaveWrapper,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from configs.errors import RequestError
from configs.schema import ModelConfig
from tasks.records.digests import digest_file
from tasks.records.writing import read_json, write_json
from tasks.training.sharding import is_sharded

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
EMBEDDING_NAMES = {"embed_tokens", "wte", "lm_head"}


def attach_adapter(model: PreTrainedModel, config: ModelConfig) -> PeftModel:
    """Put a new LoRA adapter on a base model, which is frozen; its initial output is unchanged.

    What is trained is float32, whatever the base is: a small update vanishes in 16 bits.

    Args:
        model: The base model, changed in place.
        config: Rank, scale, targets and what else describes the adapter.

    Raises:
        RequestError: A target is no module of the model, or cannot take an adapter.
    """
    targets = _choose_targets(model, config)
    saved = list(config.lora_modules_to_save)
    is_tied = bool(model.config.get_text_config().tie_word_embeddings)
    lora = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets if isinstance(targets, str) else sorted(targets),
        modules_to_save=saved or None,
        # Without it, a tied embedding that is trained in full comes apart from the output head.
        ensure_weight_tying=is_tied and bool(EMBEDDING_NAMES & set(saved)),
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        bias=config.lora_bias,
        layers_to_transform=_choose_layers(model, config),
        layers_pattern=config.lora_layers_pattern,
        task_type="CAUSAL_LM",
    )
    _check_module_names(model, config)
    try:
        adapted = get_peft_model(model, lora)
    except ValueError as err:
        raise RequestError(
            where="model.lora_target_modules",
            message=f"no adapter fits {targets}: {err}",
            allowed="all-linear, or names of linear modules",
        ) from err
    for parameter in adapted.parameters():
        if parameter.requires_grad:  # peft sees to its own layers only, not to whole modules
            parameter.data = parameter.data.float()
    return adapted


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Put a trained adapter on the base model that it was trained on.

    Args:
        model: The base model, changed in place.
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        RequestError: The adapter does not fit the base model.
    """
    lora = LoraConfig.from_pretrained(str(folder))
    lora.inference_mode = True
    try:
        adapted = PeftModelForCausalLM(model, lora)
        read_adapter_weights(adapted, folder)
    except (RuntimeError, ValueError, KeyError) as err:
        raise RequestError(
            where=str(folder),
            message=f"the adapter does not fit the base model {type(model).__name__}: {err}",
            hint=f"use the base model that it was trained on: {lora.base_model_name_or_path}",
        ) from err
    return adapted.eval()


def start_adapter(adapted: Any, folder: Path) -> None:
    """Give a new adapter, which is to be trained, the weights of one that was trained before.

    Raises:
        RequestError: It has other modules, or another rank.
    """
    try:
        read_adapter_weights(adapted, folder)
    except (RuntimeError, ValueError, KeyError) as err:
        raise RequestError(
            where="training.init_adapter",
            message=f"its adapter does not fit the one that is asked for: {err}",
            allowed="an adapter of the same modules and rank",
        ) from err


def digest_start(folder: Path | None) -> str | None:
    """Return the digest of the weights that a training starts from; None for new ones."""
    return digest_file(folder / ADAPTER_WEIGHTS) if folder else None


def detach_adapter(adapted: PeftModel) -> PreTrainedModel:
    """Take an adapter off its base model, which then has its own weights again.

    peft's `unload` leaves the trained copy of a module that was trained in full in its place.
    """
    base = adapted.get_base_model()
    for name, module in list(base.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            base.set_submodule(name, module.original_module)
    adapted.unload()
    return base


def read_adapter_weights(model: PeftModel, folder: Path) -> None:
    """Replace an adapter's weights by those of a folder, all of them and no others.

    Raises:
        ValueError: Weights are missing from the file or are unknown to the model.
    """
    weights = load_file(folder / ADAPTER_WEIGHTS)
    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if expected != set(weights):
        wrong = sorted(expected ^ set(weights))
        raise ValueError(f"{len(wrong)} weights do not match, such as {wrong[0]}")
    set_peft_model_state_dict(model, weights)


def cast_whole_modules(model: PeftModel, dtype: torch.dtype) -> None:
    """Give the modules that were trained in full the precision of the base.

    `load_adapter` gives them that precision, and what is written is what will be loaded.
    """
    for module in model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            module.modules_to_save.to(dtype)


def write_adapter(model: PeftModel, folder: Path, *, name: str, revision: str | None) -> None:
    """Write an adapter as every Hugging Face tool reads it, the same bytes in every process.

    Args:
        model: The model with its adapter.
        folder: Where to; made when it is missing.
        name: The base model as configured.
        revision: The base model's pinned revision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Of a base that is spread over devices, peft would ask every process for its part, and a state
    # dict of one process alone would leave it out of step with the others.
    own = None
    if is_sharded(model):
        own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    weights = get_peft_model_state_dict(model, own, save_embedding_layers=False)
    save_file(  # copies, because a tied embedding and head share their memory
        {key: weights[key].detach().cpu().clone().contiguous() for key in sorted(weights)},
        folder / ADAPTER_WEIGHTS,
        metadata={"format": "pt"},
    )
    lora = model.peft_config["default"]
    lora.save_pretrained(str(folder))
    fields: dict[str, Any] = read_json(folder / ADAPTER_CONFIG)
    fields |= {
        "base_model_name_or_path": describe_base(name),
        "revision": revision,
        "inference_mode": True,
    }
    for key in ("target_modules", "exclude_modules"):
        if isinstance(fields.get(key), list):
            fields[key] = sorted(fields[key])  # peft keeps a set, whose order changes
    write_json(folder / ADAPTER_CONFIG, fields)


def describe_base(name: str) -> str:
    """Return a base model's name without a path of this machine.

    >>> describe_base("meta-llama/Llama-3.1-8B"), describe_base("/home/me/models/tiny")
    ('meta-llama/Llama-3.1-8B', 'tiny')
    """
    path = PurePosixPath(name)
    return path.name if path.is_absolute() or name.startswith("~") else name


@contextmanager
def cast_inputs(model: Any, *, enabled: bool) -> Iterator[None]:
    """Let adapters cast their input to their own precision inside the block, or not.

    Under autocast the products choose their precision themselves: the cast only takes memory.
    Outside autocast a base in 16 bits and an adapter in 32 need it.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]
    before = [getattr(layer, "cast_input_dtype_enabled", True) for layer in layers]
    for layer in layers:
        layer.cast_input_dtype_enabled = enabled
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.cast_input_dtype_enabled = value


def _choose_targets(model: PreTrainedModel, config: ModelConfig) -> str | tuple[str, ...]:
    """Return the targets as peft takes them: with some layers only, it wants names."""
    if config.lora_target_modules != "all-linear" or config.lora_layers_to_transform is None:
        return config.lora_target_modules
    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    }
    return tuple(sorted(linear))


def _choose_layers(model: PreTrainedModel, config: ModelConfig) -> list[int] | None:
    """Return the decoder blocks that get an adapter; peft would pass over those that are none."""
    layers = config.lora_layers_to_transform
    if layers is None:
        return None
    count = model.config.get_text_config().num_hidden_layers
    wrong = sorted({layer for layer in layers if not 0 <= layer < count})
    if wrong or not layers:
        raise RequestError(
            where="model.lora_layers_to_transform",
            message=f"{type(model).__name__} has no block {wrong[0]}" if wrong else "is empty",
            allowed=f"numbers from 0 to {count - 1}, at least one",
        )
    return sorted(set(layers))


def _check_module_names(model: PreTrainedModel, config: ModelConfig) -> None:
    """Refuse a module to be trained in full that the model does not have."""
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    unknown = sorted(set(config.lora_modules_to_save) - names)
    if unknown:
        likely = sorted(names & EMBEDDING_NAMES)
        raise RequestError(
            where="model.lora_modules_to_save",
            message=f"{type(model).__name__} has no module {unknown[0]}",
            allowed=f"the model's module names, such as {', '.join(likely)}",
        )
