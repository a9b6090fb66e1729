"""What a candidate's training has cost: hours, energy, money; for the run, and per point gained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.records.handles import Decision, TrainedModel

POINT = 0.01  # of a metric: one percentage point of exact match
ENERGY = "energy_kwh"
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class TrainingCost:
    """The cost of a training, of the process that ended it where it was interrupted.

    Attributes:
        device_hours: Hours times devices.
        kwh: Energy, where it was measured.
        money: At `tracking.device_hour_price`, in its unit, where there is one.
        metric: The metric that decided.
        points: How many hundredths of it the candidate gained over the base model.
    """

    device_hours: float
    kwh: float | None
    money: float | None
    metric: str | None
    points: float

    @property
    def totals(self) -> dict[str, float]:
        """The figures that are known, by unit."""
        named = {"device hours": self.device_hours, "kWh": self.kwh, "money": self.money}
        return {unit: value for unit, value in named.items() if value is not None}


def compute_cost(
    trained: TrainedModel, decision: Decision, config: Mapping[str, Any]
) -> TrainingCost:
    """Return what a training has cost.

    Args:
        trained: With the seconds that it took, and its energy where that was measured.
        decision: Says what was gained over the baseline.
        config: The resolved configuration as JSON.
    """
    devices = config["training"].get("num_gpus", 1)
    hours = trained.metrics.get("seconds", 0.0) * devices / SECONDS_PER_HOUR
    price = config["tracking"].get("device_hour_price")
    gains = [c for c in decision.checks if (c.role, c.opponent) == ("primary", "baseline")]
    return TrainingCost(
        device_hours=hours,
        kwh=trained.metrics.get(ENERGY),
        money=None if price is None else hours * price,
        metric=gains[0].metric if gains else None,
        points=gains[0].improvement / POINT if gains else 0.0,
    )


def list_costs(cost: TrainingCost) -> dict[str, tuple[str, str]]:
    """Return each figure for the whole training and per point gained, by unit.

    >>> list_costs(TrainingCost(2.0, None, 7.0, "exact_match", 40.0))
    {'device hours': ('2', '0.05'), 'money': ('7', '0.175')}
    >>> list_costs(TrainingCost(2.0, None, None, None, 0.0))
    {'device hours': ('2', '')}
    """
    return {
        unit: (f"{value:.4g}", f"{value / cost.points:.4g}" if cost.points > 0 else "")
        for unit, value in cost.totals.items()
    }
