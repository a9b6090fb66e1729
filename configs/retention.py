"""How much of what runs leave behind is kept: the limits of `hone prune`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from configs.schema import Section


class RetentionConfig(Section):
    """Limits by age, count and size; published models and what explains them are always kept."""

    older_than_days: Annotated[float, Field(ge=0)] = Field(default=30.0, title="Days")
    """Runs and cached results that nothing has used for so many days go."""
    keep: Annotated[int, Field(ge=1)] = Field(default=50, title="Runs kept")
    """So many runs stay, the newest; as many comparisons, sweeps and reproductions, each."""
    max_gb: Annotated[float, Field(gt=0)] | None = Field(default=None, title="Gigabytes")
    """What HONE_HOME may take altogether, in 10^9 bytes; what was not used for the longest time
    goes first. None: no limit."""
