"""A move of the champion's alias: from which version to which, by whom and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from tasks.records.handles import Record


class ChampionMove(Record):
    """One version became champion."""

    time: str
    """UTC, such as `20260301T120000.000000Z`; moves sort by it."""
    action: Literal["published", "rolled_back"]
    version: str
    """The champion from here on."""
    replaced: str | None
    """The champion until here; None where there was none."""
    who: str
    reason: str

    def describe(self) -> str:
        """Return the move in words."""
        verb = "published" if self.action == "published" else "rolled back to"
        instead = f" in place of {self.replaced}" if self.replaced else ""
        return f"{self.time[:15]}Z {verb} version {self.version}{instead} by {self.who}: " + (
            self.reason or "no reason given"
        )


def describe_move(
    action: Literal["published", "rolled_back"],
    version: str,
    replaced: str | None,
    *,
    who: str,
    reason: str,
) -> ChampionMove:
    """Return a move that is made now."""
    return ChampionMove(
        time=f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}",
        action=action,
        version=version,
        replaced=replaced,
        who=who,
        reason=reason,
    )
