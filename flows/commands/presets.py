"""`hone configs`: the presets."""

from __future__ import annotations

from dataclasses import asdict

from configs.load import PresetInfo, list_presets, load_config
from flows.terminal import print_json, print_table
from tasks.records.home import resolve_in_project
from tasks.training.known_bases import find_model_config
from tasks.training.memory import estimate_memory

CONTEXT_BYTES = 2**30  # CUDA's own, its libraries and the allocator's slack
CPU_PARAMETERS = 20_000_000  # a model of fewer trains on any CPU in minutes


def show_presets(*, as_json: bool) -> int:
    """Print each preset's purpose, method, base model and GPU memory."""
    presets = list_presets()
    if as_json:
        rows = [asdict(preset) | {"gpu_bytes": estimate_gpu_bytes(preset)} for preset in presets]
        print_json({"presets": rows})
        return 0
    print_table(
        ["preset", "method", "GPU memory", "purpose"],
        [
            [
                preset.name,
                preset.method,
                describe_memory(estimate_gpu_bytes(preset)),
                preset.purpose,
            ]
            for preset in presets
        ],
    )
    return 0


def estimate_gpu_bytes(preset: PresetInfo) -> int | None:
    """Return the least GPU memory that a preset needs, with activation checkpointing.

    Returns:
        Bytes; 0 where a CPU does; None where the base model's sizes are not known.
    """
    shape = find_model_config(preset.base, resolve_in_project(preset.base))
    if shape is None:
        return None
    config = load_config(preset.name)
    plan = estimate_memory(shape, config.model, config.training, activation_checkpointing=True)
    if plan.num_parameters < CPU_PARAMETERS:
        return 0
    return plan.total_bytes + CONTEXT_BYTES


def describe_memory(num_bytes: int | None) -> str:
    """Return a size as a person reads it."""
    if num_bytes is None:
        return "unknown"
    return f"{num_bytes / 2**30:.0f} GiB" if num_bytes else "none needed"
