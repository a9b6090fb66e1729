"""`hone configs`: the presets."""

from __future__ import annotations

from dataclasses import asdict

from configs.load import list_presets
from flows.terminal import print_json, print_table


def show_presets(*, as_json: bool) -> int:
    """Print each preset's purpose, method, base model and GPU memory."""
    presets = list_presets()
    if as_json:
        print_json({"presets": [asdict(preset) for preset in presets]})
        return 0
    print_table(
        ["preset", "method", "GPU memory", "base model", "purpose"],
        [
            [
                preset.name,
                preset.method,
                _describe_memory(preset.gpu_bytes),
                preset.base,
                preset.purpose,
            ]
            for preset in presets
        ],
    )
    return 0


def _describe_memory(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "unknown"
    return f"{num_bytes / 2**30:.0f} GiB" if num_bytes else "none needed"
