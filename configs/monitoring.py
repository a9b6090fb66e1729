"""When a published model counts as steady: the rules of the `monitor` flow, as its form shows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from configs.schema import Section


class MonitorRules(Section):
    """How far a score on fresh rows may be below the published one."""

    margin: Annotated[float, Field(ge=1)] = Field(default=2.0, title="Margin")
    """A score is steady when its lower bound is less than this many reaches below the published
    value, a reach being how far the published interval goes below it. With 2, about as many fresh
    rows as there were test rows are enough to tell."""
