"""A configuration as a preset file: what it changes of the preset that it extends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from configs.load import load_config
from configs.paths import CLONE
from configs.presets import EXTENDS, PATHS_FROM, PRESET_FOLDER, find_preset
from configs.schema import RunConfig


def dump_preset(config: RunConfig, preset: str) -> str:
    """Return the YAML of a preset that extends another and loads to a configuration.

    Args:
        config: What it loads to.
        preset: The name or path of what it extends; a relative path starts at the current folder.
    """
    import yaml

    path = find_preset(preset, Path.cwd())
    named = preset if path.parent == PRESET_FOLDER else str(path)
    before = load_config(str(path)).model_dump(mode="json")
    changes = list_changes(before, config.model_dump(mode="json"))
    head = {EXTENDS: named}
    if set(changes) & {"data", "model", "training"} and holds_paths(changes):
        head[PATHS_FROM] = "clone"
    text: str = yaml.safe_dump({**head, **changes}, sort_keys=False, allow_unicode=True, width=100)
    return text


def list_changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the values of nested mappings that differ.

    >>> list_changes({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    {'a': {'c': 3}}
    """
    changes: dict[str, Any] = {}
    for name, value in after.items():
        old = before.get(name)
        if value == old:
            continue
        both = isinstance(value, dict) and isinstance(old, dict)
        changes[name] = list_changes(old, value) if both else value  # type: ignore[arg-type]
    return changes


def holds_paths(changes: dict[str, Any]) -> bool:
    """Tell whether something in the changes is a path below hone's clone, which starts there."""
    texts = json.loads(json.dumps(changes))
    pending = [texts]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, str) and value and (CLONE / value).exists():
            return True
    return False
