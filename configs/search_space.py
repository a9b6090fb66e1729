"""The space of a search: which settings vary, and over what; checked before anything is tried."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from configs.errors import HoneError, RequestError
from configs.layers import Layer, parse_value, read_layer
from configs.load import apply_overrides
from configs.problems import build_error, join_words
from configs.schema import RunConfig

Kind = Literal["choice", "uniform", "loguniform", "int"]
RANGES = ("uniform", "loguniform", "int")
SECTIONS = ("model", "training")
# Another base or template changes what a token is, and with it what the losses mean.
FIXED = {"model.model_name_or_path", "model.model_revision", "model.chat_template"}
EXAMPLE = "{type: loguniform, low: 1e-5, high: 1e-2}"


@dataclass(frozen=True)
class Dimension:
    """A setting that varies.

    Attributes:
        key: Its dotted key.
        kind: `choice` of values; `uniform` and `loguniform` between two numbers; `int`.
        values: What a choice is of.
        low: The least value of a range.
        high: The greatest value of a range, which may be taken.
    """

    key: str
    kind: Kind
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The values that show whether all of them are allowed."""
        if self.kind == "choice":
            return self.values
        return (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)

    def describe(self) -> list[Any]:
        """Return what determines the dimension, as JSON types."""
        return [self.key, self.kind, list(self.values), self.low, self.high]


Space = tuple[Dimension, ...]


def read_space(path: Path | None, choices: Sequence[str] = ()) -> tuple[Layer, str]:
    """Return the layer of a space file with the choices of the command line laid over it.

    Args:
        path: A YAML or JSON file: dotted keys, each with a type and its bounds or values.
        choices: `key=a,b,c` each, which replace the file's.

    Returns:
        The values with their places, and what to call them in an error.
    """
    layer = read_layer(path) if path else Layer({})
    values, places = dict(layer.values), dict(layer.places)
    for text in choices:
        key, sign, listed = text.partition("=")
        where = f"--set-space {key.strip()}"
        if not sign or not listed.strip():
            raise RequestError(
                "no key and values",
                where=where,
                hint="write --set-space KEY=A,B,C, such as --set-space model.lora_r=4,8,16",
            )
        found = [parse_value(value.strip()) for value in listed.split(",")]
        values[key.strip()] = {"type": "choice", "values": found}
        places[key.strip(),] = where
    return Layer(values, places), str(path) if path else "--set-space"


def check_space(layer: Layer, config: RunConfig, subject: str = "space") -> Space:
    """Return the dimensions of a space, sorted by key.

    Args:
        layer: What `read_space` read, or a flow's parameter.
        config: What the dimensions vary; every extreme of each must be allowed in it.
        subject: What to call the space in an error.

    Raises:
        RequestError: Something in it is wrong; every problem is named with its file and line.
    """
    if not layer.values:
        raise RequestError(
            "nothing varies",
            where=subject,
            allowed=f"one setting or more, such as training.learning_rate: {EXAMPLE}",
        )
    found: list[Dimension] = []
    problems: list[RequestError] = []
    for key, value, where in sorted(list_entries(layer), key=lambda entry: entry[0]):
        try:
            dimension = read_dimension(key, value, where)
            check_allowed(dimension, config, where)
        except RequestError as err:
            problems.append(err)
        else:
            found.append(dimension)
    if problems:
        raise build_error(problems, subject)
    return tuple(found)


def list_entries(layer: Layer) -> Iterator[tuple[str, Any, str]]:
    """Yield each dotted key with its value and place; sections may also be written nested."""
    for name, value in layer.values.items():
        if name in SECTIONS and isinstance(value, Mapping):
            for inner, found in value.items():
                yield f"{name}.{inner}", found, layer.find_place((name, inner))
        else:
            yield name, value, layer.find_place((name,))


def read_dimension(key: str, value: Any, where: str) -> Dimension:
    """Return a dimension from its mapping."""
    section = key.partition(".")[0]
    if section not in SECTIONS or "." not in key or key in FIXED:
        raise RequestError(
            f"{key} does not vary in a search",
            where=where,
            allowed=f"keys of {join_words(SECTIONS)}, except {', '.join(sorted(FIXED))}",
        )
    if not isinstance(value, Mapping):
        raise RequestError(f"{key}: found no mapping", where=where, allowed=EXAMPLE)
    kind = value.get("type")
    if kind == "choice":
        return read_choice(key, value, where)
    if kind in RANGES:
        return read_range(key, kind, value, where)
    allowed = f"choice, {', '.join(RANGES)}"
    raise RequestError(f"{key}.type: found {kind!r}", where=where, allowed=allowed)


def read_choice(key: str, value: Mapping[str, Any], where: str) -> Dimension:
    """Return a choice."""
    check_names(key, value, {"values"}, where)
    values = value["values"]
    if not isinstance(values, list) or len(values) < 2:
        raise RequestError(f"{key}.values: found {values!r}", where=where, allowed="two or more")
    shown = [json.dumps(item, sort_keys=True) for item in values]
    if len(set(shown)) < len(shown):
        raise RequestError(f"{key}.values: one stands there twice", where=where)
    return Dimension(key, "choice", values=tuple(values))


def read_range(key: str, kind: Kind, value: Mapping[str, Any], where: str) -> Dimension:
    """Return a range."""
    check_names(key, value, {"low", "high"}, where)
    low, high = (read_number(f"{key}.{name}", value[name], where) for name in ("low", "high"))
    if not low < high:
        raise RequestError(f"{key}: low {low:g} is not below high {high:g}", where=where)
    if kind == "loguniform" and low <= 0:
        raise RequestError(f"{key}.low: found {low:g}", where=where, allowed="above 0")
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        raise RequestError(f"{key}: low and high of an int must be whole numbers", where=where)
    return Dimension(key, kind, low=low, high=high)


def read_number(name: str, value: Any, where: str) -> float:
    """Return a finite number; YAML's are texts here."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise RequestError(f"{name}: found {value!r}", where=where, allowed="a number")
    return number


def check_names(key: str, value: Mapping[str, Any], wanted: set[str], where: str) -> None:
    """Refuse a mapping with other names than those of its type."""
    found = set(value) - {"type"}
    if found != wanted:
        shown = ", ".join(sorted(found)) or "nothing"
        raise RequestError(
            f"{key}: found {shown} beside type {value['type']}",
            where=where,
            allowed=", ".join(sorted(wanted)),
        )


def check_allowed(dimension: Dimension, config: RunConfig, where: str) -> None:
    """Refuse a dimension with a value that the configuration refuses."""
    for value in dimension.extremes:
        try:
            apply_overrides(config, {dimension.key: value})
        except HoneError as err:
            key = dimension.key
            message = err.message if key in err.message else f"{key}: {err.message}"
            raise RequestError(message, where, err.allowed, err.hint, err.problems) from None
