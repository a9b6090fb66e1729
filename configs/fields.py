"""Every field of the schema as a record: key, what is allowed, default, meaning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from configs.metrics import METRIC_PATTERN
from configs.schema import NAME_PATTERN, URL_PATTERN, RunConfig

BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
TYPE_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "null": "null",
}
PATTERN_WORDS = {
    NAME_PATTERN: 'a name of letters, digits, ".", "_" and "-"',
    URL_PATTERN: "an address, http:// or https://, without a password",
    METRIC_PATTERN: "another metric that evaluation computes",
}


@dataclass(frozen=True)
class ConfigField:
    """One field: `key` is dotted; `section` is empty for a field of the top level."""

    key: str
    section: str
    name: str
    allowed: str
    choices: tuple[str, ...]
    default: Any
    meaning: str


@dataclass(frozen=True)
class ConfigSection:
    """One section: its name, what it is for, its fields in the order of the schema."""

    name: str
    meaning: str
    fields: tuple[ConfigField, ...]


@cache
def list_sections() -> tuple[ConfigSection, ...]:
    """Return the sections of `RunConfig`; the first one, without a name, is the top level."""
    schema = RunConfig.model_json_schema()
    top: list[ConfigField] = []
    sections: list[ConfigSection] = []
    for name, entry in schema["properties"].items():
        reference = entry.get("$ref")
        if reference is None:
            top.append(describe_field("", name, entry))
            continue
        section = schema["$defs"][reference.rsplit("/", 1)[-1]]
        inner = section["properties"].items()
        fields = tuple(describe_field(name, field, inner_entry) for field, inner_entry in inner)
        sections.append(ConfigSection(name, join_lines(section["description"]), fields))
    return (ConfigSection("", join_lines(schema["description"]), tuple(top)), *sections)


@cache
def list_fields() -> dict[str, ConfigField]:
    """Return every field by its dotted key, in the order of the schema."""
    return {field.key: field for section in list_sections() for field in section.fields}


@cache
def list_section_names() -> tuple[str, ...]:
    """Return the names of the sections."""
    return tuple(section.name for section in list_sections() if section.name)


def describe_field(section: str, name: str, entry: dict[str, Any]) -> ConfigField:
    """Build a field's record from its JSON schema."""
    return ConfigField(
        key=f"{section}.{name}" if section else name,
        section=section,
        name=name,
        allowed=describe_allowed(entry),
        choices=collect_choices(entry),
        default=entry.get("default"),
        meaning=join_lines(entry.get("description", "")),
    )


def describe_allowed(entry: dict[str, Any]) -> str:
    """Say in words which values a JSON schema allows.

    >>> describe_allowed({"type": "number", "minimum": 0, "exclusiveMaximum": 1})
    'a number >= 0 and < 1'
    """
    if "anyOf" in entry:
        return " or ".join(describe_allowed(option) for option in entry["anyOf"])
    if "enum" in entry or "const" in entry:
        return ", ".join(collect_choices(entry))
    if "pattern" in entry:
        return PATTERN_WORDS.get(entry["pattern"], f"text that matches {entry['pattern']}")
    if entry.get("type") == "array":
        return f"a list of {describe_items(entry['items'])}"
    if entry.get("type") == "object":
        return "a mapping of text to text"
    words = TYPE_WORDS[entry["type"]]
    if entry.get("minLength"):
        words = "text that is not empty"
    bounds = [f"{sign} {entry[bound]}" for bound, sign in BOUNDS.items() if bound in entry]
    return f"{words} {' and '.join(bounds)}".strip()


def describe_items(entry: dict[str, Any]) -> str:
    """Say in words what a list may hold."""
    if "anyOf" in entry:
        return " or ".join(describe_items(option) for option in entry["anyOf"])
    if "$ref" in entry:
        return "mappings"
    choices = collect_choices(entry)
    return f"({', '.join(choices)})" if choices else describe_allowed(entry)


def collect_choices(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the words that a JSON schema allows, those of list items included."""
    if "const" in entry:
        return (str(entry["const"]),)
    options = [*entry.get("anyOf", []), *([entry["items"]] if "items" in entry else [])]
    found = [*map(str, entry.get("enum", []))]
    for option in options:
        found.extend(collect_choices(option))
    return tuple(found)


def join_lines(text: str) -> str:
    """Return a docstring as one line."""
    return " ".join(text.split())
