"""The figures of a stage's line in the log, as fields for machines."""

from __future__ import annotations

from typing import Any

FIELDS = "hone"  # the attribute of the log record that holds them


def name_fields(stage: str, **figures: Any) -> dict[str, dict[str, Any]]:
    """Return what goes with a stage's line as `extra=`: counts, digests and names, never rows.

    Args:
        stage: The stage's name.
        figures: What the line tells, as JSON types.

    >>> name_fields("format", read=10, kept=9)
    {'hone': {'stage': 'format', 'read': 10, 'kept': 9}}
    """
    return {FIELDS: {"stage": stage, **figures}}
