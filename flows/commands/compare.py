"""`hone compare`: several configurations on the same data, one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import RequestError
from configs.load import load_config
from configs.schema import RunConfig
from flows.in_process import serve_flows
from flows.terminal import print_json, print_table, print_text
from tasks.records.home import resolve_in_project
from tasks.records.runs import check_home
from tasks.versioning.sources import open_source

if TYPE_CHECKING:
    from tasks.evaluation.comparison import Comparison


def compare_presets(
    presets: Sequence[str], overrides: Sequence[str], *, data: str | None, as_json: bool
) -> int:
    """Compare presets and print the table.

    Raises:
        RequestError: There are fewer than two, or two of one name, or their data differ.
    """
    if data:
        overrides = [*overrides, f"data.source={data}", "data.pattern=null"]
    configs = load_presets(presets, overrides)
    check_home()
    for config in configs.values():
        open_source(config.data.source, resolve_in_project(config.data.source))
    with serve_flows("flows.compare"):
        from flows.compare import compare

        comparison = compare(configs)
    if as_json:
        print_json(comparison.model_dump(mode="json"))
    else:
        show_comparison(comparison)
    return 0


def load_presets(presets: Sequence[str], overrides: Sequence[str]) -> dict[str, RunConfig]:
    """Return the configurations by the names that the table shows.

    Raises:
        RequestError: There are fewer than two, or two of one name.
    """
    names = [Path(preset).stem for preset in presets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or len(names) < 2:
        raise RequestError(
            message=f"found {twice[0]} twice" if twice else f"found {len(names)} preset",
            where="hone compare",
            allowed="two or more presets of different names",
        )
    return {
        name: load_config(preset, overrides) for name, preset in zip(names, presets, strict=True)
    }


def show_comparison(comparison: Comparison) -> None:
    """Print a comparison for a person."""
    from tasks.evaluation.comparison import list_cells, list_columns

    title = f"scored on {comparison.split} ({comparison.rows} rows)"
    print_table(list_columns(comparison), [list_cells(arm) for arm in comparison.arms], title)
    print_text(f"report   {comparison.path}/report.md")
    print_text(f"plot     {comparison.plot}")
