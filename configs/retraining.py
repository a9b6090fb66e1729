"""When a retraining is worth its cost: the rules of the `retrain` flow, as its form shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configs.schema import Section


class RetrainRules(Section):
    """What must have changed, and how long ago the last training must be.

    Changed data is worth a training when one of the first two is met.
    """

    min_new_rows: Annotated[int, Field(ge=1)] = Field(default=1, title="New rows")
    """Rows that were added or changed since the champion's data."""
    min_changed_fraction: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, title="Changed fraction"
    )
    """Share of the rows, those that were added, changed or removed over those that there are now;
    by default only the number of new rows counts."""
    start_from: Literal["base", "champion"] = Field(default="base", title="Start from")
    """What the adapter starts as: a new one, or the champion's, where there is one."""
    min_hours_between: Annotated[float, Field(ge=0)] = Field(default=0.0, title="Hours between")
    """Hours since the last retraining of this model began; 0: no limit."""
