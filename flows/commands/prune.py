"""`hone prune`: keep disk use in bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from configs.errors import RequestError
from configs.retention import RetentionConfig
from flows.terminal import print_json, print_table, print_text

if TYPE_CHECKING:
    from tasks.prune import Judgement, Pruning

NUM_SHOWN = 30  # --json has them all
RUNS = {"run", "comparison", "sweep", "reproduction"}


def prune_runs(asked: Mapping[str, Any], *, dry_run: bool, as_json: bool) -> int:
    """Remove what the limits do not allow and print it.

    Args:
        asked: The limits that are not the defaults.
        dry_run: Only say what would be removed.
        as_json: Print all of it as JSON.

    Returns:
        0; 2 where what has to stay takes more than `--max-gb`.
    """
    from tasks.prune import prune_home

    try:
        limits = RetentionConfig.model_validate(asked)
    except ValidationError as err:
        raise RequestError(
            where=f"--{str(err.errors()[0]['loc'][0]).replace('_', '-')}",
            message=err.errors()[0]["msg"],
        ) from err
    result = prune_home(limits, dry_run=dry_run)
    if as_json:
        print_json(result.model_dump(mode="json") | {"is_within": result.is_within})
    else:
        show(result)
    return 0 if result.is_within else 2


def show(result: Pruning) -> None:
    """Print what goes and what stays, for a person."""
    title = "would be removed" if result.dry_run else "removed"
    _show_table(result.removed, title)
    _show_table([item for item in result.kept if item.kind in RUNS], "kept")
    kept = sum(item.num_bytes for item in result.kept if item.kind not in RUNS)
    print_text(f"results  {kept / 1e9:.3f} GB of cached results and raw files are kept")
    print_text(
        f"HONE_HOME  {result.num_bytes_before / 1e9:.3f} GB before, "
        f"{result.num_bytes / 1e9:.3f} GB {'then' if result.dry_run else 'now'}"
    )
    if not result.is_within and result.max_bytes:
        print_text(
            f"limit    {result.max_bytes / 1e9:g} GB cannot be kept: what is left has to stay"
        )


def _show_table(items: tuple[Judgement, ...] | list[Judgement], title: str) -> None:
    if not items:
        print_text(f"nothing {title}" if title != "kept" else "no run is kept")
        return
    rows = [
        [item.path, item.kind, f"{item.num_bytes / 1e6:.1f}", f"{item.days:.1f}", item.why]
        for item in items[:NUM_SHOWN]
    ]
    print_table(["path", "kind", "MB", "days", "why"], rows, title)
    if len(items) > NUM_SHOWN:
        print_text(f"and {len(items) - NUM_SHOWN} more (--json lists them)")
