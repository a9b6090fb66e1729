"""`hone data inspect`: what a run would read, before there is one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import RequestError
from configs.load import apply_overrides, load_config
from configs.presets import list_preset_names, suggest_preset
from configs.problems import PRESET_KEYS
from configs.schema import RunConfig
from flows.commands.inspection_view import build_object, show_dropped, show_inspection
from flows.logs import choose_logging, show_logs
from flows.terminal import print_json
from tasks.records.runs import check_home
from tasks.records.writing import open_atomic, read_json

if TYPE_CHECKING:
    from tasks.inspect import InspectedData

YAML_SUFFIXES = (".yaml", ".yml")
WRITTEN = ("data_report.md", "preview.md", "inspection.json", "lengths.png", "ledger.jsonl")


def inspect_data(
    source: str,
    *,
    overrides: Sequence[str],
    output: Path | None,
    base: str | None,
    by: str,
    as_json: bool,
) -> int:
    """Describe the rows of a source or a preset; print what was found, and write it if asked.

    Raises:
        RequestError: There is no such source, or no row of it is kept: then the ledger is shown.
    """
    config = load_request(source, overrides, base)
    _check_output(output)
    check_home()
    choose_logging()
    from tasks.inspect import inspect_rows
    from tasks.observe import TaskObserver

    show_logs()
    with TaskObserver("inspect") as observer:
        inspected = inspect_rows(config, by, observer)
    figures = read_json(inspected.folder / "inspection.json")
    if output:
        _write(inspected.folder, output)
    refusal = _refuse_dropped(source, inspected) if inspected.refusal else None
    if as_json:
        error = {"error": refusal.to_dict()} if refusal else {}
        print_json(build_object(inspected, figures, output) | error)
        return refusal.exit_code if refusal else 0
    if refusal:
        show_dropped(inspected, figures, output)
        raise refusal
    show_inspection(inspected, figures, output)
    return 0


def _refuse_dropped(source: str, inspected: InspectedData) -> RequestError:
    return RequestError(
        message=inspected.refusal,
        where=source,
        allowed="at least one row that is kept",
        hint=f"the reason of each row: {inspected.folder / 'ledger.jsonl'}",
    )


def load_request(source: str, overrides: Sequence[str], base: str | None) -> RunConfig:
    """Return the settings to look with: a preset's, or the defaults on a source.

    Raises:
        RequestError: The source is no preset, file, folder or URI, or an override is wrong.
    """
    path = Path(source).expanduser()
    chosen = {}
    if is_preset(source):
        config = load_config(source, overrides)
    elif "://" in source or path.exists():
        config = load_config(None, overrides)
        chosen["data.source"] = source if "://" in source else str(path.absolute())
    else:
        raise RequestError(
            message=f'"{source}" is no preset, file or folder',
            where="SOURCE|PRESET",
            allowed="a file, a folder, lakefs://REPOSITORY/REF/PATH, hf://NAME@REVISION, a preset",
            hint=suggest_preset(source),
        )
    if base:
        place = Path(base).expanduser()
        chosen["model.model_name_or_path"] = str(place.absolute()) if place.exists() else base
    return apply_overrides(config, chosen)


def is_preset(source: str) -> bool:
    """Return whether a name or file is a preset; a JSON file is one that has only a preset's keys.

    >>> is_preset("tiny"), is_preset("data/train.jsonl")
    (True, False)
    """
    path = Path(source).expanduser()
    if source in list_preset_names() or (path.suffix in YAML_SUFFIXES and path.is_file()):
        return True
    if path.suffix != ".json" or not path.is_file():
        return False
    try:
        values = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(values, dict) and set(values) <= {*RunConfig.model_fields, *PRESET_KEYS}


def _check_output(output: Path | None) -> None:
    if output and output.exists() and not output.is_dir():
        raise RequestError(message=f"{output} is a file", where="--output", allowed="a folder")


def _write(folder: Path, output: Path) -> None:
    for name in filter(lambda name: (folder / name).exists(), WRITTEN):
        with open_atomic(output / name, "wb") as copy, (folder / name).open("rb") as original:
            shutil.copyfileobj(original, copy)
