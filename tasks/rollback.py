"""Take the champion back to an earlier version."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.publishing.rollback import Rollback
from tasks.publishing.rollback import roll_back as move_back


@task(name="rollback", cache_policy=NO_CACHE)
def roll_back(name: str, version: str | None, *, who: str, reason: str) -> Rollback:
    """Test an earlier version, make it champion, and show the move."""
    rollback = move_back(name, version, who=who, reason=reason)
    checks = "\n".join(f"- {check.name}: {check.found}" for check in rollback.report.checks)
    create_markdown_artifact(
        f"# {name}\n\n{rollback.move.describe()}\n\n{checks}\n", key="rollback"
    )
    return rollback
