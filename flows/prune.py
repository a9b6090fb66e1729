"""The pruning: disk use kept in bounds, for a schedule."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from configs.retention import RetentionConfig
from flows.environment import prepare_environment
from tasks.prune import Pruning, prune_home
from tasks.records.runs import check_home

MAX_ROWS = 200  # artifacts are kept in the server's database

logging.getLogger("hone").setLevel(logging.INFO)


@flow(name="prune")
def prune(
    limits: RetentionConfig = RetentionConfig(),  # noqa: B008 - frozen; the form shows its values
    dry_run: bool = False,
) -> Pruning:
    """Remove old runs and cached results; never a published model, or what explains it.

    What runs that stay refer to, what another process may be using, and what waits for approval is
    kept, whatever the limits are.

    Requires: the HONE_HOME of the workers whose results are to be pruned.

    Args:
        limits: What may stay, by age, count and size.
        dry_run: Say what would be removed, and remove nothing.
    """
    prepare_environment()
    check_home()
    result = prune_home(limits, dry_run=dry_run)
    rows: list[dict[str, Any]] = [
        {"path": item.path, "kind": item.kind, "MB": round(item.num_bytes / 1e6, 1),
         "days": item.days, "outcome": outcome, "why": item.why}
        for outcome, items in (("removed", result.removed), ("kept", result.kept))
        for item in items
    ]  # fmt: skip
    if rows:
        create_table_artifact(rows[:MAX_ROWS], key="prune", description="What went, what stays")
    return result
