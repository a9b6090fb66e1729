"""Metrics of a user's own: functions named in the config, loaded, checked, called and digested."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from configs.errors import RequestError
from configs.paths import resolve_path
from tasks.records.digests import digest_file, digest_value

KEY = "evaluation.custom_metrics"
ARGUMENTS = ("prediction", "reference", "prompt", "fields")
CustomMetric = Callable[..., object]


def load_custom_metrics(named: Mapping[str, str]) -> dict[str, CustomMetric]:
    """Return the functions behind metrics, by the metrics' names.

    Args:
        named: `MODULE:FUNCTION` or `FOLDER/FILE.py:FUNCTION` by metric; a file starts at hone's
            clone, and may import the modules beside it.

    Raises:
        RequestError: A module cannot be imported, or has no such function, or the function takes
            something else than `prediction`, `reference`, `prompt` and `fields`.
    """
    return {name: _load_function(f"{KEY}.{name}", value) for name, value in named.items()}


def _load_function(key: str, value: str) -> CustomMetric:
    module, _, name = value.rpartition(":")
    try:
        loaded = _import_file(module) if module.endswith(".py") else importlib.import_module(module)
    except Exception as err:
        raise RequestError(
            where=key,
            message=f"{module} cannot be imported: {type(err).__name__}: {err}",
            allowed="MODULE:FUNCTION, or FOLDER/FILE.py:FUNCTION",
        ) from err
    function = getattr(loaded, name, None)
    if not callable(function):
        own = [
            n for n, f in vars(loaded).items() if inspect.isfunction(f) and not n.startswith("_")
        ]
        raise RequestError(
            where=key, message=f"{module} has no function {name}", allowed=", ".join(own)
        )
    return _take_what_it_names(key, value, function)


def _take_what_it_names(key: str, value: str, function: Callable[..., object]) -> CustomMetric:
    """Return the function as one that is given all of `ARGUMENTS` and passes on what it takes."""
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters)
    names = [name for name in ARGUMENTS if takes_all or name in signature.parameters]
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError as err:
        raise RequestError(
            where=key,
            message=f"{value} cannot be called: {err}",
            allowed=f"a function of some of the keywords {', '.join(ARGUMENTS)}",
        ) from err
    return lambda **given: function(**{name: given[name] for name in names})


def _import_file(file: str) -> ModuleType:
    """Import a file by its path, under a name that no package has."""
    path = resolve_path(file)
    name = f"hone_custom_{digest_value(str(path))[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    module = importlib.util.module_from_spec(spec)
    with _import_beside(path.parent):
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return module


@contextmanager
def _import_beside(folder: Path) -> Iterator[None]:
    """Let a file import the modules that lie beside it, while it is imported."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def digest_custom_metrics(named: Mapping[str, str]) -> dict[str, str]:
    """Return by metric the digest of its code: of all Python files in its folder or package.

    Raises:
        RequestError: As `load_custom_metrics`.
    """
    load_custom_metrics(named)
    return {name: digest_value(_digest_sources(value)) for name, value in named.items()}


def _digest_sources(value: str) -> dict[str, Any]:
    module = value.rpartition(":")[0]
    if module.endswith(".py"):
        files = sorted(resolve_path(module).parent.glob("*.py"))
    else:
        top = sys.modules[module.split(".")[0]]
        folders = [Path(place) for place in getattr(top, "__path__", ())]
        files = sorted(f for folder in folders for f in folder.rglob("*.py"))
        files = files or [Path(top.__file__ or "")]
    return {"function": value, "files": [[file.name, digest_file(file)] for file in files]}


def call_custom_metric(
    name: str, function: CustomMetric, *, origin: str, **arguments: object
) -> float:
    """Return a metric of one row.

    Args:
        name: The metric's.
        function: What computes it.
        origin: Where the row came from, for errors.
        **arguments: `prediction`, `reference`, `prompt` and `fields`.

    Raises:
        RequestError: The function failed, or did not return a finite number.
    """
    try:
        value = function(**arguments)
    except Exception as err:
        raise RequestError(
            where=f"{KEY}.{name}", message=f"failed on {origin}: {type(err).__name__}: {err}"
        ) from err
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise RequestError(
            where=f"{KEY}.{name}",
            message=f"returned {value!r} for {origin}",
            allowed="a finite number, or True or False",
        )
    return float(value)
