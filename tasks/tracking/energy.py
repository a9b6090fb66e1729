"""The energy that a block of work takes, measured by codecarbon without any network."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LOG = logging.getLogger("hone")
SECONDS_BETWEEN = 5


@dataclass
class Energy:
    """What a block took; None where it was not measured.

    Attributes:
        kwh: Of processor, memory and GPUs: counted by the hardware where it can be read (RAPL,
            NVML), else estimated from the processor's rating.
    """

    kwh: float | None = None


@contextmanager
def measure_energy(*, is_measured: bool) -> Iterator[Energy]:
    """Measure the energy of a block of work on this machine.

    Args:
        is_measured: Whether to; else the block just runs.

    Yields:
        What holds the figure when the block has ended.
    """
    energy = Energy()
    if not is_measured:
        yield energy
        return
    tracker = _start_tracker()
    try:
        yield energy
    finally:
        tracker.stop()
        found = getattr(tracker, "final_emissions_data", None)
        energy.kwh = float(found.energy_consumed) if found else None
        LOG.info("energy: %s kWh", "unknown" if energy.kwh is None else f"{energy.kwh:.3g}")


def _start_tracker() -> Any:
    """Start codecarbon; what goes wrong in it is logged by it, and leaves the energy unknown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from codecarbon import OfflineEmissionsTracker

        tracker = OfflineEmissionsTracker(
            country_iso_code="USA",  # asked for by codecarbon for emissions, which are not read
            measure_power_secs=SECONDS_BETWEEN,
            save_to_file=False,
            save_to_api=False,
            log_level="error",
            allow_multiple_runs=True,
        )
        tracker.start()
    return tracker
