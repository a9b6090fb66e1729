"""The trained weights and the model folder: written and read, whatever the method."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import GenerationConfig

from tasks.formatting.rendering.renderer import Renderer
from tasks.records.writing import share_file
from tasks.training.adapters import read_adapter_weights, write_adapter
from tasks.training.engine import Weights


def set_greedy_generation(model: Any, renderer: Renderer) -> None:
    """Let a model generate as it is evaluated, greedily, instead of as its base was shipped.

    It ends at every token that its training or its base ends an answer with.

    Args:
        model: The model, with or without an adapter; its generation config is replaced.
        renderer: Knows the end tokens that are trained on.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    own = base.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    ends = dict.fromkeys([*renderer.end_token_ids, *(i for i in own if i is not None)])
    base.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=list(ends), pad_token_id=renderer.pad_token_id
    )


def choose_weights(model: Any, *, name: str, revision: str | None) -> Weights:
    """Return how checkpoints of this model keep its trained weights.

    Args:
        model: A model with an adapter, or a model that is trained in full.
        name: The base model as configured.
        revision: The base model's pinned revision.
    """
    if isinstance(model, PeftModel):
        write = functools.partial(write_adapter, model, name=name, revision=revision)
        return Weights(write=write, read=functools.partial(read_adapter_weights, model))
    return Weights(
        write=lambda folder: model.save_pretrained(str(folder)),
        read=functools.partial(read_full_weights, model),
    )


def read_full_weights(model: Any, folder: Path) -> None:
    """Replace a model's weights by those of a folder, all of them and no others.

    Raises:
        ValueError: Weights are missing from the files or are unknown to the model.
    """
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    result = model.load_state_dict(weights, strict=False)
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    wrong = sorted((set(result.missing_keys) - tied) | set(result.unexpected_keys))
    if wrong:
        raise ValueError(f"{folder}: {len(wrong)} weights do not match, such as {wrong[0]}")
    model.tie_weights()


def write_model(model: Any, weights: Weights, tokenizer: Path, folder: Path) -> int:
    """Write a trained model in the shape that every Hugging Face tool reads, in one move.

    Args:
        model: The trained model.
        weights: How its weights are written.
        tokenizer: Folder of the tokenizer's files and chat template, copied as they are.
        folder: Where to; what is there is replaced.

    Returns:
        The size of the weights in bytes.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(tokenizer, partial)
    weights.write(partial)
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    base.generation_config.save_pretrained(str(partial))
    for file in partial.glob("*.safetensors"):
        share_file(file)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
