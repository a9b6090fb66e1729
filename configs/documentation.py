"""Writes docs/config.md from the schema, or checks that it is fresh.

Usage: python -m configs.documentation [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from configs.fields import ConfigField, ConfigSection, list_sections
from configs.foreign_keys import FOREIGN_KEYS, PUBLISHING_KEYS
from configs.load import PresetInfo, list_presets
from configs.paths import CLONE

TARGET = CLONE / "docs" / "config.md"

INTRODUCTION = """\
# Configuration

<!-- Written by `python -m configs.documentation` from configs/schema.py; do not edit. -->

A run is configured by one `RunConfig`. A preset is a YAML (or JSON) file that gives some of its
values; what it leaves out has the default below.

- **Compose.** `extends: NAME` (or a path that starts at the file's folder) takes everything from
  another preset; mappings merge key by key, lists and values are replaced.
- **Override.** `--set training.learning_rate=1e-4`, as often as wanted; a later one wins. Lists are
  written `[a, b]`, nothing is `null`. In Python: `load_config("tiny", ["training.seed=1"])`.
- **Values.** What a field takes decides: `1e-4` is a number, `on` is the word or true, as asked.
- **Paths.** A relative path starts at the preset's folder, with `--set` at the current folder. See
  [decision 2](decisions/0002-paths-in-configs.md). `paths_from: clone`, which stands in a run's
  `config.yaml`, lets those of a file start at hone's clone instead.
- **Secrets** never stand in a configuration: they come from environment variables or `.env`.

Field names and their meanings are those of Hugging Face's transformers, peft and TRL.
"""


def build_documentation() -> str:
    """Return the text of docs/config.md."""
    parts = [INTRODUCTION, describe_presets(list_presets())]
    parts += [describe_section(section) for section in list_sections() if section.name]
    return "\n".join([*parts, describe_foreign_keys()])


def describe_presets(presets: Sequence[PresetInfo]) -> str:
    """Return the table of the built-in presets."""
    rows = [
        (f"`{preset.name}`", preset.purpose, f"`{preset.base}`", preset.method)
        for preset in presets
    ]
    table = build_table(("preset", "purpose", "base model", "method"), rows)
    return f"## Presets\n\n{table}\n`hone configs` shows the GPU memory that each needs.\n"


def describe_section(section: ConfigSection) -> str:
    """Return one section's heading and table."""
    rows = [
        (f"`{field.name}`", field.allowed, show_default(field), field.meaning)
        for field in section.fields
    ]
    table = build_table(("field", "allowed", "default", "meaning"), rows)
    return f"## {section.name}\n\n{section.meaning}\n\n{table}"


def show_default(field: ConfigField) -> str:
    """Return a default as YAML would hold it."""
    return f"`{show_plain(field.default)}`"


def show_plain(value: Any) -> str:
    """Return a value in YAML's short form.

    >>> show_plain(["a", 1]), show_plain(True), show_plain(None), show_plain("x")
    ('[a, 1]', 'true', 'null', 'x')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(show_plain, value))}]"
    return json.dumps(value)


def describe_foreign_keys() -> str:
    """Return the table of other systems' keys."""
    rows = [
        (f"`{name}`", ", ".join(f"`{key}`" for key in foreign.keys) or "nothing", foreign.remark)
        for name, foreign in sorted(FOREIGN_KEYS.items())
    ]
    table = build_table(("elsewhere", "here", "remark"), rows)
    kept_out = ", ".join(f"`{name}`" for name in sorted(PUBLISHING_KEYS))
    return (
        "## Keys of other systems\n\n"
        "They are refused, and the error says what to write instead.\n\n"
        f"{table}\nRefused because only the gate publishes: {kept_out}.\n"
    )


def build_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines
    )


def main(arguments: Sequence[str]) -> int:
    """Write the file, or with `--check` return 1 when it is stale."""
    text = build_documentation()
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}\n")
        return 3
    if "--check" not in arguments:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{TARGET} is stale: write it with `python -m configs.documentation`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
