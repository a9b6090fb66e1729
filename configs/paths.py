"""Paths in a configuration: where a relative one starts, and how a loaded config holds it.

A relative path starts at the preset's folder, and with `--set` at the current folder. A loaded
config holds it relative to hone's clone when it lies inside, else absolute; so the same preset
gives the same config, and the same digest, wherever the command is typed and the clone lies.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[1]
URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
EXPLICIT = ("./", "../", "~/", "/")


def is_uri(value: str) -> bool:
    """Tell whether a source is a URI such as `lakefs://REPOSITORY/REF/PATH`."""
    return URI.match(value) is not None


def resolve_path(value: str) -> Path:
    """Return the absolute path of a path that a loaded config holds."""
    return CLONE / value


def resolve_base(value: str) -> Path | str:
    """Return the folder that a loaded config's base model names, or else its hub id."""
    path = CLONE / value
    return path if Path(value).is_absolute() or path.is_dir() else value


def hold_path(value: str, folder: Path) -> str:
    """Return `value`, which starts at `folder`, as a loaded config holds it."""
    path = Path(os.path.normpath(folder.resolve() / Path(value).expanduser()))
    return path.relative_to(CLONE).as_posix() if path.is_relative_to(CLONE) else path.as_posix()


def hold_source(value: str, folder: Path) -> str:
    """Return a data source as a loaded config holds it; a URI stays as it is."""
    return value if not value or is_uri(value) else hold_path(value, folder)


def hold_base(value: str, folder: Path) -> str:
    """Return a base model as a loaded config holds it.

    It is a path when it says so (`./`, `../`, `~/`, absolute) or when such a folder exists; else a
    hub id. A folder that is missing is held absolute, so that it is never taken for a hub id.
    """
    path = folder / Path(value).expanduser()
    is_folder = bool(value) and path.is_dir()
    if not is_folder and not value.startswith(EXPLICIT) and value not in {".", ".."}:
        return value
    held = hold_path(value, folder)
    return held if is_folder else (CLONE / held).as_posix()


def hold_template(value: str, folder: Path) -> str:
    """Return a chat template as a loaded config holds it; a built-in's name stays as it is."""
    return hold_path(value, folder) if value.endswith(".jinja") else value


def hold_function(value: str, folder: Path) -> str:
    """Return `FOLDER/FILE.py:FUNCTION` as a loaded config holds it; `MODULE:FUNCTION` stays."""
    file, sign, function = value.rpartition(":")
    return f"{hold_path(file, folder)}{sign}{function}" if file.endswith(".py") else value


RULES = {
    ("data", "source"): hold_source,
    ("model", "model_name_or_path"): hold_base,
    ("model", "chat_template"): hold_template,
    ("training", "teacher"): hold_base,
    ("evaluation", "toxicity_model"): hold_base,
    ("evaluation", "lm_eval_path"): hold_path,
}
RULES_OF_EACH = {
    ("data", "eval_sources"): hold_source,
    ("evaluation", "custom_metrics"): hold_function,
}


def hold_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the values of a preset or of `--set` with every path as a loaded config holds it.

    Values of a wrong type are left to the schema, which refuses them.

    Args:
        values: Nested values by section and name.
        folder: Where relative paths start.
    """
    held = {name: dict(part) if isinstance(part, dict) else part for name, part in values.items()}
    for (section, name), hold in RULES.items():
        part = held.get(section)
        if isinstance(part, dict) and isinstance(part.get(name), str):
            part[name] = hold(part[name], folder)
    for (section, name), hold in RULES_OF_EACH.items():
        part = held.get(section)
        if isinstance(part, dict) and isinstance(part.get(name), dict):
            part[name] = {
                key: hold(value, folder) if isinstance(value, str) else value
                for key, value in part[name].items()
            }
    return held
