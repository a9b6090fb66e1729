"""How long the rows are: a PNG histogram, and one of characters for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

import numpy as np

from tasks.formatting.inspection.lengths import Lengths
from tasks.records.writing import open_atomic

NUM_BINS = 12
BAR_WIDTH = 40  # characters
NUM_BARS = 40
MAX_REACH = 3  # times the 99th percentile
STEPS = (1, 2, 5, 10)
COLORS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#94a3b8")
INK, MUTED, GRID = "#0f172a", "#475569", "#e2e8f0"


@dataclass(frozen=True)
class Bin:
    """How many lengths lie in [low, high)."""

    low: int
    high: int
    count: int


def choose_step(reach: float, num_bins: int) -> int:
    """Return the least of 1, 2, 5, 10, 20, 50, ... whose `num_bins` multiples reach that far.

    >>> choose_step(95, 12), choose_step(5, 12), choose_step(700, 12)
    (10, 1, 100)
    """
    power = 1
    while True:
        for step in STEPS:
            if step * power * num_bins > reach:
                return step * power
        power *= 10


def bin_lengths(lengths: Lengths, num_bins: int = NUM_BINS) -> tuple[Bin, ...]:
    """Count lengths in bins of a round width; the last one reaches to the longest.

    The width follows from the 99th percentile: a few very long rows squeeze nothing together.
    """
    if not len(lengths):
        return ()
    step = choose_step(float(np.percentile(lengths, 99)), num_bins)
    places = np.minimum(lengths // step, num_bins - 1)
    counts = np.bincount(places, minlength=num_bins)
    used = int(places.max()) + 1
    ends = [(i + 1) * step for i in range(used - 1)] + [max(used * step, int(lengths.max()) + 1)]
    return tuple(Bin(i * step, end, int(counts[i])) for i, end in enumerate(ends))


def draw_text_histogram(bins: Sequence[Bin], width: int = BAR_WIDTH) -> str:
    """Return a histogram, one line a bin from the first that has rows; each of those has a mark."""
    bins = list(dropwhile(lambda found: not found.count, bins))
    if not bins:
        return ""
    fullest = max(found.count for found in bins)
    labels = [f"{found.low:,}-{found.high - 1:,}" for found in bins]
    room = max(map(len, labels))
    return "\n".join(
        f"{label:>{room}} {'█' * -(-found.count * width // fullest):<{width}} {found.count:,}"
        for label, found in zip(labels, bins, strict=True)
    )


def choose_edges(lengths: Sequence[Lengths]) -> Lengths:
    """Return the edges of the bars: to the longest, unless that is far beyond the 99th percentile.

    >>> [int(edge) for edge in choose_edges([np.array([1, 2, 3])])]
    [0, 1, 2, 3, 4]
    """
    joined = np.concatenate(list(lengths))
    reach = min(int(joined.max()), round(MAX_REACH * float(np.percentile(joined, 99))))
    step = choose_step(reach, NUM_BARS)
    return np.arange(0, reach + step + 1, step)


def draw_lengths(path: Path, lengths: Mapping[str, Lengths], *, max_length: int | None) -> None:
    """Write a PNG with one histogram for each split; its bytes follow from its content.

    Args:
        path: The file to write.
        lengths: Each row's tokens, by split.
        max_length: Where `training.max_length` lies, if it is to be shown.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {split: found for split, found in lengths.items() if len(found)}
    edges = choose_edges(list(shown.values()))
    last = float(edges[-1])
    style = {"axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#94a3b8"}
    with mpl.rc_context(style):
        figure = Figure((7.5, 1.2 + 1.4 * len(shown)), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for number, (axes, (split, found)) in enumerate(zip(panels, shown.items(), strict=True)):
            inside = np.minimum(found, last - 0.5)  # longer ones are counted in the last bar
            axes.hist(inside, bins=list(edges), color=COLORS[number % len(COLORS)])
            axes.set_ylabel("rows", color=MUTED)
            axes.set_title(f"{split}: {len(found):,} rows", loc="right", fontsize=10, color=MUTED)
            axes.grid(axis="y", color=GRID)
            axes.set_axisbelow(True)
            if max_length is not None and max_length <= last:
                axes.axvline(max_length, color=INK, linestyle="--", linewidth=1)
        panels[0].set_title("Length of the rows", loc="left", fontweight="bold", color=INK)
        panels[-1].set_xlim(0, last)
        label = (
            "tokens" if max_length is None or max_length > last else "tokens; dashed: max_length"
        )
        longest = max(int(found.max()) for found in shown.values())
        tail = f"; the last bar holds all up to {longest:,}" if longest >= last else ""
        panels[-1].set_xlabel(f"{label}{tail}", color=MUTED)
        with open_atomic(path, "wb") as file:
            figure.savefig(file, format="png", metadata={"Software": None})
