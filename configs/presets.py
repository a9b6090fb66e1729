"""Presets: found by name or path, composed by `extends:` into one layer of values."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from configs.errors import RequestError
from configs.layers import Layer, merge_layers, read_layer, show_path
from configs.paths import CLONE, hold_paths
from configs.problems import PRESET_KEYS, join_words

PRESET_FOLDER = CLONE / "configs"
SUFFIXES = (".yaml", ".yml", ".json")
EXTENDS, PATHS_FROM = PRESET_KEYS


def list_preset_names() -> list[str]:
    """Return the names of the built-in presets, sorted."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))


def find_preset(preset: str, folder: Path, where: str = "") -> Path:
    """Return the file of a preset.

    Args:
        preset: A built-in preset's name, or a path to a YAML or JSON file.
        folder: Where a relative path starts.
        where: The place that names the preset, for the error.

    Raises:
        RequestError: There is no such preset.
    """
    if preset in list_preset_names():
        return PRESET_FOLDER / f"{preset}.yaml"
    path = (folder / Path(preset).expanduser()).absolute()
    if path.suffix in SUFFIXES and path.is_file():
        return path
    raise RequestError(
        f'no preset "{preset}"' + describe_found(path),
        where=where,
        allowed=f"{', '.join(list_preset_names())}, or a path to a YAML or JSON file",
        hint=suggest_preset(preset),
    )


def describe_found(path: Path) -> str:
    """Say what stands at a path that is no preset file."""
    if path.is_dir():
        return ": that is a folder"
    if path.is_file():
        return f": that is a file without one of the endings {', '.join(SUFFIXES)}"
    return ": there is no such file" if path.suffix in SUFFIXES else ""


def suggest_preset(preset: str) -> str:
    """Return the names that are nearest to an unknown one, as a question."""
    path = Path(preset)
    name = (path.stem if path.suffix in SUFFIXES else path.name).lower()
    near = get_close_matches(name, list_preset_names(), n=3, cutoff=0.5)
    return f"did you mean {join_words(near)}?" if near else ""


def read_preset(path: Path) -> Layer:
    """Read a preset with everything that it extends, all paths as a loaded config holds them.

    Args:
        path: The preset's file.

    Returns:
        The composed values, each with the file and line that it comes from.

    Raises:
        RequestError: A file is missing or cannot be read, or `extends:` goes in a circle.
    """
    layers: list[Layer] = []
    chain: list[Path] = []
    following: Path | None = path
    where = ""
    while following is not None:
        if following.resolve() in [seen.resolve() for seen in chain]:
            circle = " -> ".join(show_path(seen) for seen in [*chain, following])
            raise RequestError(f"extends goes in a circle: {circle}", where=where)
        chain.append(following)
        layer = read_layer(following)
        where = layer.find_place((EXTENDS,))
        following = find_extended(layer, following)
        layers.append(hold_layer(layer, chain[-1]))
    composed = layers.pop()
    while layers:
        composed = merge_layers(composed, layers.pop())
    return composed


def find_extended(layer: Layer, path: Path) -> Path | None:
    """Return the file of the preset that a preset extends, if it extends one."""
    if EXTENDS not in layer.values:
        return None
    name, where = layer.values[EXTENDS], layer.find_place((EXTENDS,))
    if not isinstance(name, str):
        raise RequestError(
            "extends: found no name",
            where=where,
            allowed="one preset's name, or a path that starts at this file's folder",
        )
    return find_preset(name, path.parent, where)


def hold_layer(layer: Layer, path: Path) -> Layer:
    """Return a preset's layer without the keys that only presets have, its paths held."""
    start = layer.values.get(PATHS_FROM, "file")
    if start not in {"file", "clone"}:
        where = layer.find_place((PATHS_FROM,))
        raise RequestError(f'paths_from: found "{start}"', where=where, allowed="file, clone")
    folder = CLONE if start == "clone" else path.parent
    own = {name: part for name, part in layer.values.items() if name not in PRESET_KEYS}
    return Layer(hold_paths(own, folder), layer.places)
