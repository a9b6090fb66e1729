"""The one way from a preset, `--set` and a flow's parameters to a checked `RunConfig`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.errors import RequestError
from configs.layers import Layer, merge_layers, parse_value
from configs.paths import hold_paths
from configs.presets import PATHS_FROM, PRESET_FOLDER, find_preset, list_preset_names, read_preset
from configs.problems import build_error, list_problems
from configs.schema import RunConfig
from configs.secret_values import redact

LINE_SEPARATORS = frozenset("\x85\u2028\u2029")
DUMP_HEAD = f"""\
# A resolved configuration: every value stands here, and it can be run like any preset.
{PATHS_FROM}: clone
"""


@dataclass(frozen=True)
class PresetInfo:
    """What a preset is for, and its main settings."""

    name: str
    purpose: str
    method: str
    base: str
    max_length: int
    effective_batch_size: int
    learning_rate: float


def load_config(preset: str | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Load a preset, lay the overrides over it, and check the whole.

    Args:
        preset: A built-in preset's name, or a path to a YAML or JSON file; None: the defaults.
        overrides: `dotted.key=value` each, a later one wins; relative paths in them start at the
            current folder.

    Returns:
        The configuration; paths inside hone's clone are held relative to it, others absolute.

    Raises:
        RequestError: There is no such preset, or something in it or in an override is wrong; every
            problem is named, with its file and line or its `--set`.
    """
    here = Path.cwd()
    layer = Layer({}) if preset is None else read_preset(find_preset(preset, here))
    layer = merge_layers(layer, read_overrides(overrides, here))
    return validate(layer, subject=f"preset {preset}" if preset else "--set")


def check_config(values: Mapping[str, Any]) -> RunConfig:
    """Check nested values, such as a flow's parameters; relative paths start at hone's clone.

    Raises:
        RequestError: Something in them is wrong; every problem is named by its key.
    """
    return validate(Layer(dict(values)), subject="configuration")


def apply_overrides(config: RunConfig, overrides: Mapping[str, Any]) -> RunConfig:
    """Return the configuration with values replaced by dotted key.

    Args:
        config: The configuration to start from.
        overrides: Values by dotted key, such as `{"training.learning_rate": 1e-4}`; relative paths
            start at hone's clone.

    Raises:
        RequestError: A key or value is wrong; every problem is named by its key.
    """
    layer = Layer(config.model_dump())
    for dotted, value in overrides.items():
        layer = merge_layers(layer, build_override(dotted, value, dotted))
    return validate(layer, subject="overrides")


def validate(layer: Layer, subject: str) -> RunConfig:
    """Return the values as a `RunConfig`, or raise one error that names every problem."""
    config: RunConfig | None = None
    error: ValidationError | None = None
    try:
        config = RunConfig.model_validate(layer.values)
    except ValidationError as err:
        error = err
    problems = list_problems(layer, error)
    if config is None or problems:
        # Outside of the except block: pydantic's error quotes values, which may be secrets.
        raise build_error(problems, subject)
    return config


def read_overrides(overrides: Sequence[str], folder: Path) -> Layer:
    """Return the layer of `dotted.key=value` texts; relative paths in them start at `folder`."""
    layer = Layer({})
    problems: list[RequestError] = []
    for text in overrides:
        dotted, sign, value = text.partition("=")
        dotted = dotted.strip()
        if not sign or not all(dotted.split(".")):
            hint = "write --set KEY=VALUE, such as --set training.learning_rate=1e-4"
            problems.append(
                RequestError("no key and value", where=f"--set {redact(dotted)}", hint=hint)
            )
            continue
        override = build_override(dotted, parse_value(value), f"--set {dotted}")
        layer = merge_layers(layer, Layer(hold_paths(override.values, folder), override.places))
    if problems:
        raise build_error(problems, "--set")
    return layer


def build_override(dotted: str, value: Any, place: str) -> Layer:
    """Return the layer of one value at a dotted key."""
    key = tuple(dotted.split("."))
    for name in reversed(key):
        value = {name: value}
    return Layer(value, {key[:length]: place for length in range(1, len(key) + 1)})


def dump_config(config: RunConfig) -> str:
    """Return the configuration as YAML, in the order of the schema, which loads back to it."""
    import yaml

    values = config.model_dump(mode="json")
    # PyYAML folds Unicode's line separators into blanks unless it escapes what is not ASCII.
    is_plain = LINE_SEPARATORS.isdisjoint(config.model_dump_json())
    return DUMP_HEAD + yaml.safe_dump(values, sort_keys=False, allow_unicode=is_plain, width=100)


def list_presets() -> list[PresetInfo]:
    """Return what there is to know of each built-in preset, sorted by name."""
    return [
        describe_preset(name, load_config(str(PRESET_FOLDER / f"{name}.yaml")))
        for name in list_preset_names()
    ]


def describe_preset(name: str, config: RunConfig) -> PresetInfo:
    """Return what `hone configs` shows of a configuration."""
    training, model = config.training, config.model
    return PresetInfo(
        name=name,
        purpose=config.purpose,
        method=model.method,
        base=model.model_name_or_path,
        max_length=training.max_length,
        effective_batch_size=training.per_device_train_batch_size
        * training.gradient_accumulation_steps,
        learning_rate=training.learning_rate,
    )
