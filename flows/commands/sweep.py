"""`hone sweep`: search for better settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import RequestError, RunError
from configs.load import load_config
from configs.search_space import check_space, read_space
from flows.in_process import serve_flows
from flows.terminal import print_json, print_table, print_text
from tasks.records.extras import require_package
from tasks.records.home import resolve_in_home, resolve_in_project
from tasks.records.runs import check_home
from tasks.records.writing import write_text
from tasks.versioning.sources import open_source

if TYPE_CHECKING:
    from tasks.sweep import SweepResult


def sweep_preset(
    preset: str,
    overrides: Sequence[str],
    *,
    space: Path | None,
    choices: Sequence[str],
    metric: str | None,
    direction: str | None,
    trials: int,
    timeout: float | None,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> int:
    """Search, print the trials, and write the best preset.

    Raises:
        RequestError: The preset or the space is wrong, or Optuna is not installed.
        RunError: No trial was complete.
    """
    require_package("optuna", where="hone sweep", needed_for="a sweep")
    config = load_config(preset, overrides)
    layer, subject = read_space(space, choices)
    check_space(layer, config, subject)  # here errors name the file and line
    if output and not output.absolute().parent.is_dir():
        raise RequestError(f"no folder {output.parent}", where="--output")
    check_home()
    open_source(config.data.source, resolve_in_project(config.data.source))
    with serve_flows("flows.sweep"):
        from flows.sweep import sweep

        result = sweep(
            config,
            layer.values,
            metric=metric,
            direction=direction,
            trials=trials,
            timeout_seconds=timeout,
            seed=seed,
            preset=preset,
        )
    if result.preset is None:
        reasons = tuple(f"trial {t.number}: {t.reason}" for t in result.trials if t.reason)
        raise RunError("no trial was complete", where=f"sweep {result.name}", problems=reasons)
    if output:
        write_text(output, resolve_in_home(result.preset).read_text(encoding="utf-8"))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show_sweep(result)
    return 0


def show_sweep(result: SweepResult) -> None:
    """Print a sweep for a person."""
    from tasks.sweep import list_columns, list_rows

    print_table(list_columns(result), list_rows(result))
    print_text(f"report   {result.path}/report.md")
    print_text(f"best     {result.preset}")
    print_text(f"next     hone run {resolve_in_home(result.preset or '')}")
