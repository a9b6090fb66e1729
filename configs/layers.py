"""Layers of configuration values, each value with the place where it was written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from configs.secret_values import redact

if TYPE_CHECKING:
    import yaml

Key = tuple[str, ...]
MAX_DEPTH = 12  # far more than any preset needs; stops an alias that contains itself
NULL_TAG = "tag:yaml.org,2002:null"
PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value")
}


@dataclass(frozen=True)
class Layer:
    """Nested values and, for each key, where it stands: `file:line` or `--set KEY`."""

    values: dict[str, Any]
    places: dict[Key, str] = field(default_factory=dict)

    def find_place(self, key: Key) -> str:
        """Return where the key, or the nearest one above it, was written; else the key itself."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.places:
                return self.places[key[:length]]
        return ".".join(key)


def merge_layers(base: Layer, top: Layer) -> Layer:
    """Lay `top` over `base`: mappings merge key by key, anything else is replaced."""
    return Layer(merge_values(base.values, top.values), base.places | top.places)


def merge_values(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Merge two nested mappings; the second one wins.

    >>> merge_values({"a": {"b": 1, "c": [2]}}, {"a": {"c": [3]}})
    {'a': {'b': 1, 'c': [3]}}
    """
    merged = dict(base)
    for name, value in top.items():
        old = merged.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[name] = merge_values(old, value) if both else value  # type: ignore[arg-type]
    return merged


def show_path(path: Path) -> str:
    """Return a path as a message shows it: from the current folder when it lies there."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def read_layer(path: Path) -> Layer:
    """Read a YAML or JSON file that holds a mapping.

    YAML scalars other than null stay text, which the schema turns into the type that a field asks
    for: so `1e-4` is a number, `on` is not true, and `12345678` may be a revision.

    Args:
        path: The file; `.json` is read as JSON, anything else as YAML.

    Returns:
        The values and the line of each key.

    Raises:
        RequestError: The file is missing, not text, not YAML or JSON, or holds no mapping.
    """
    shown = show_path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "not UTF-8 text"
        raise RequestError(f"cannot be read: {reason}", where=shown) from None
    layer = read_json_text(text, shown) if path.suffix == ".json" else read_yaml_text(text, shown)
    if not layer.values:
        raise RequestError(
            "holds no configuration", where=shown, allowed="a mapping of sections, or extends: NAME"
        )
    return layer


def read_yaml_text(text: str, shown: str) -> Layer:
    """Read YAML text into a layer; errors name `shown` and the line."""
    places: dict[Key, str] = {}
    node = compose_yaml(text, shown)
    values = {} if node is None else convert_node(node, (), places, shown)
    return Layer(check_mapping(values, shown), places)


def read_json_text(text: str, shown: str) -> Layer:
    """Read JSON text into a layer; errors name `shown` and the line."""

    def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RequestError(f"{twice[0]}: written twice", where=shown, hint="keep one of them")
        return dict(pairs)

    try:
        values = json.loads(text, object_pairs_hook=refuse_twice)
    except json.JSONDecodeError as err:
        raise RequestError(f"not JSON: {err.msg}", where=f"{shown}:{err.lineno}") from None
    except RecursionError:
        raise RequestError("nested too deeply", where=shown) from None
    places: dict[Key, str] = {}
    # JSON is YAML but for tabs, which can only stand between its tokens: so the lines are known.
    node = compose_yaml(text.replace("\t", " "), shown)
    if node is not None:
        convert_node(node, (), places, shown)
    return Layer(check_mapping(values, shown), places)


def parse_value(text: str) -> Any:
    """Return the value of `--set KEY=VALUE`: a YAML list, mapping or quoted text, null, or text.

    >>> parse_value("[q_proj, v_proj]"), parse_value("null"), parse_value("*.jsonl")
    (['q_proj', 'v_proj'], None, '*.jsonl')
    """
    if text.strip() in {"", "null", "~"}:
        return None
    if text.lstrip()[0] not in "[{\"'":
        return text
    try:
        node = compose_yaml(text, "")
        return text if node is None else convert_node(node, (), {}, "")
    except RequestError:
        return text  # a glob such as [ab]*.jsonl, or a prompt that opens with a bracket


def compose_yaml(text: str, shown: str) -> yaml.Node | None:
    """Parse YAML into nodes, which know their lines."""
    import yaml

    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as err:
        # Only the problem and the line: the error's own text would quote the file's content.
        mark = err.problem_mark or err.context_mark
        where = f"{shown}:{mark.line + 1}" if mark else shown
        raise RequestError(f"not YAML: {redact(err.problem or '')}", where=where) from None
    except yaml.YAMLError:
        raise RequestError("not YAML: a character that YAML does not allow", where=shown) from None
    except RecursionError:
        raise RequestError("nested too deeply", where=shown) from None


def convert_node(node: yaml.Node, key: Key, places: dict[Key, str], shown: str) -> Any:
    """Turn a YAML node into a value, and note the line of each key in `places`."""
    import yaml

    where = f"{shown}:{node.start_mark.line + 1}"
    if node.tag not in PLAIN_TAGS:
        raise RequestError(f"{'.'.join(key)}: unknown YAML tag {node.tag}", where=where)
    if len(key) > MAX_DEPTH:
        raise RequestError(f"{key[0]}: nested too deeply", where=where)
    if isinstance(node, yaml.MappingNode):
        return convert_mapping(node, key, places, shown)
    if isinstance(node, yaml.SequenceNode):
        return [
            convert_node(item, (*key, str(number)), places, shown)
            for number, item in enumerate(node.value)
        ]
    return None if node.tag == NULL_TAG else node.value


def convert_mapping(
    node: yaml.MappingNode, key: Key, places: dict[Key, str], shown: str
) -> dict[str, Any]:
    """Turn a YAML mapping into a dictionary; a key that stands there twice is an error."""
    values: dict[str, Any] = {}
    for name_node, value_node in node.value:
        where = f"{shown}:{name_node.start_mark.line + 1}"
        name = name_node.value
        if not isinstance(name, str):
            raise RequestError("a key must be text", where=where)
        inner = (*key, name)
        if name in values:
            raise RequestError(
                f"{'.'.join(inner)}: written twice", where=where, hint="keep one of them"
            )
        places[inner] = where
        values[name] = convert_node(value_node, inner, places, shown)
    return values


def check_mapping(values: Any, shown: str) -> dict[str, Any]:
    """Return the values when they are a mapping."""
    if isinstance(values, dict):
        return values
    raise RequestError(
        f"holds {'a list' if isinstance(values, list) else 'a single value'}",
        where=shown,
        allowed="a mapping of sections such as data, model, training",
    )
