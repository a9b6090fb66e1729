"""The memory that a training took, as its device counts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PEAK_MEMORY = "peak_memory_bytes"


@dataclass
class PeakMemory:
    """The most bytes of the device that were in use at once.

    Attributes:
        num_bytes: Known when the block has ended; None where nothing counts them.
    """

    num_bytes: int | None = None


@contextmanager
def measure_peak_memory(*, is_counted: bool) -> Iterator[PeakMemory]:
    """Measure the peak of a block on CUDA, whose allocator counts exactly.

    Args:
        is_counted: Whether the block's work runs in this process on CUDA. A processor's memory is
            shared with all else in the process, so that its peak would say little.
    """
    peak = PeakMemory()
    if not is_counted:
        yield peak
        return
    import torch

    torch.cuda.reset_peak_memory_stats()
    yield peak
    peak.num_bytes = int(torch.cuda.max_memory_allocated())
