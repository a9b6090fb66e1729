"""What is wrong with a configuration, in words that say where, what is allowed, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from configs.fields import ConfigField, list_fields, list_section_names
from configs.foreign_keys import (
    ONLY_THE_GATE_PUBLISHES,
    PUBLISHING_KEYS,
    ForeignKey,
    find_foreign,
    normalise_name,
)
from configs.layers import Key, Layer
from configs.secret_values import is_secret_name, is_secret_value, redact

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

LONGEST_SHOWN = 80  # characters of a wrong value that a message repeats
NUMBER = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")
PRESET_KEYS = ("extends", "paths_from")  # read by configs.presets, never part of the values
MOVE_HINT = "remove it; secrets come from environment variables or .env, see .env.example"


def build_error(problems: Sequence[RequestError], subject: str) -> RequestError:
    """Return one error for one or several problems."""
    if len(problems) == 1:
        return problems[0]
    lines = tuple(str(problem) for problem in problems)
    return RequestError(f"{len(problems)} errors", where=subject, problems=lines)


def list_problems(layer: Layer, error: ValidationError | None) -> list[RequestError]:
    """Return every problem of the values, each key once: wrong values, unknown keys, secrets.

    Args:
        layer: The values and where they were written.
        error: What the schema found, if anything.
    """
    problems: dict[Key, RequestError] = {}
    for details in error.errors(include_url=False) if error else []:
        key = find_key(details["loc"], layer.values)
        # A union gives one finding for each of its branches: the first one says enough.
        problems.setdefault(key, explain(layer, key, details))
    for key in find_secret_values(layer.values):
        is_unknown = ".".join(key[:2]) not in list_fields()
        if not (is_unknown and key in problems):
            problems[key] = describe_problem(layer, key, "holds a secret", hint=MOVE_HINT)
    return list(problems.values())


def find_secret_values(values: dict[str, Any], above: Key = ()) -> Iterator[Key]:
    """Yield the keys whose values have the shape of a secret."""
    for name, value in values.items():
        key = (*above, str(name))
        if isinstance(value, dict):
            yield from find_secret_values(value, key)
        elif any(map(is_secret_value, value if isinstance(value, list | tuple) else [value])):
            yield key


def find_key(location: tuple[int | str, ...], values: Any) -> Key:
    """Return the part of a pydantic location that the user wrote, without union branches."""
    key: list[str] = []
    for part in location:
        if not isinstance(values, dict) or part not in values:
            break
        key.append(str(part))
        values = values[part]
    return tuple(key)


def describe_problem(
    layer: Layer, key: Key, message: str, *, allowed: str = "", hint: str = ""
) -> RequestError:
    """Return a problem with its place; the key is named in it once."""
    where, dotted = layer.find_place(key), ".".join(key)
    is_named = not dotted or where.endswith(dotted)
    named = message if is_named else f"{dotted}: {message}"
    return RequestError(named, where=where, allowed=allowed, hint=hint)


def explain(layer: Layer, key: Key, details: ErrorDetails) -> RequestError:
    """Translate one finding of pydantic's."""
    if details["type"] == "extra_forbidden":
        return explain_unknown(layer, key)
    if details["type"] == "value_error":
        return explain_together(layer, key, str(details["ctx"]["error"]))
    return explain_value(layer, key, details["input"])


def explain_together(layer: Layer, key: Key, message: str) -> RequestError:
    """Explain values that are wrong together, at the place of the first one that was written."""
    named = [tuple(name.split(".")) for name in re.findall(r"\b[a-z]+\.[a-z_0-9]+\b", message)]
    written = [name for name in named if name in layer.places]
    where = layer.find_place(written[0] if written else key)
    return RequestError(message, where=where)


def explain_value(layer: Layer, key: Key, value: Any) -> RequestError:
    """Say what was found, what is allowed, and which allowed word comes nearest."""
    field = list_fields().get(".".join(key[:2]))
    nearest = suggest_choice(field, value)
    return describe_problem(
        layer,
        key,
        f"found {show_value(value)}",
        allowed=describe_expected(field, key),
        hint=f"did you mean {nearest}?" if nearest else "",
    )


def describe_expected(field: ConfigField | None, key: Key) -> str:
    """Say what a key may hold: a section's keys, a field's values, or text inside a mapping."""
    if field is None:
        names = [name.name for name in list_fields().values() if name.section == ".".join(key)]
        return f"a mapping of {', '.join(names or list_section_names())}"
    return "text" if len(key) > 2 else field.allowed


def suggest_choice(field: ConfigField | None, value: Any) -> str:
    """Return the allowed word that is nearest to a wrong one, or nothing."""
    if field is None or not isinstance(value, str):
        return ""
    by_lower = {choice.lower(): choice for choice in field.choices}
    found = get_close_matches(value.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else ""


def join_words(words: Sequence[str]) -> str:
    """Join alternatives: `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def show_value(value: Any) -> str:
    """Return a wrong value for a message: short, and never a secret."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = redact(str(value))
    text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
    is_plain = not isinstance(value, str) or NUMBER.fullmatch(text)
    return text if is_plain else f'"{text}"'


def explain_unknown(layer: Layer, key: Key) -> RequestError:
    """Say what to write instead of an unknown key; its value is never repeated."""
    name = normalise_name(key[-1])
    if name in PUBLISHING_KEYS:
        message = f"not a configuration key: {ONLY_THE_GATE_PUBLISHES}"
        secret = "; a token belongs in the environment (HF_TOKEN)" if "token" in name else ""
        hint = f"remove it; publish.name is what a proven model is called{secret}"
    elif is_secret_name(key[-1]):
        message, hint = "a secret never stands in a configuration", MOVE_HINT
    elif key[-1] in PRESET_KEYS:
        message, hint = "a key that stands at the top of a preset file only", "move it there"
    elif elsewhere := find_same_name(key):
        message, hint = "unknown key", f"write {join_words(elsewhere)}"
    elif foreign := find_foreign(name):
        message, hint = "a key of another system", describe_foreign(foreign)
    else:
        return explain_mistyped(layer, key)
    return describe_problem(layer, key, message, hint=hint)


def describe_foreign(foreign: ForeignKey) -> str:
    """Say what to write instead of another system's key."""
    if not foreign.keys:
        return f"remove it: {foreign.remark}"
    return f"write {' and '.join(foreign.keys)}" + (foreign.remark and f" ({foreign.remark})")


def explain_mistyped(layer: Layer, key: Key) -> RequestError:
    """Name the known keys that are nearest, or all that are known where the key stands."""
    nearest = find_nearest(key)
    if nearest:
        return describe_problem(
            layer, key, "unknown key", hint=f"did you mean {join_words(nearest)}?"
        )
    siblings = ", ".join(list_siblings(key))
    hint = "docs/config.md says what each is for"
    return describe_problem(layer, key, "unknown key", allowed=siblings, hint=hint)


def find_same_name(key: Key) -> list[str]:
    """Return the keys of other sections that bear exactly this name."""
    return [field.key for field in list_fields().values() if field.name == normalise_name(key[-1])]


def list_siblings(key: Key) -> list[str]:
    """Return the names that are known where the key stands."""
    section = ".".join(key[:-1])
    names = [field.name for field in list_fields().values() if field.section == section]
    return names if section else [*names, *list_section_names(), *PRESET_KEYS]


def find_nearest(key: Key) -> list[str]:
    """Return up to three known keys that a mistyped one may have meant, nearest first.

    Those of the same section go first; then those of any section.
    """
    name, above = normalise_name(key[-1]), key[:-1]
    found = get_close_matches(name, list_siblings(key), n=3, cutoff=0.6)
    if found:
        return [".".join((*above, near)) for near in found]
    names = {field.name for field in list_fields().values()}
    near_names = get_close_matches(name, sorted(names), n=3, cutoff=0.6)
    return [
        field.key for near in near_names for field in list_fields().values() if field.name == near
    ]
