"""The plot of a comparison: one panel for each figure, one bar for each configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.evaluation.comparison import ArmBounds, ComparedArm, Comparison
from tasks.evaluation.plots import COLORS, INK, MUTED, draw_figure
from tasks.evaluation.significance import Bounds


@dataclass(frozen=True)
class Panel:
    """One figure of every configuration.

    Attributes:
        title: What it is.
        label: Its unit, and which direction is better.
        values: By configuration; None where it is not known.
        bounds: Intervals by configuration, where there are some.
    """

    title: str
    label: str
    values: Sequence[float | None]
    bounds: Sequence[Bounds] = ()


def list_panels(comparison: Comparison, bounds: ArmBounds) -> list[Panel]:
    """Return the panels that something is known for, what was learnt first."""
    arms = comparison.arms

    def interval(metric: str) -> list[Bounds]:
        return [bounds[arm.name][metric] for arm in arms if metric in bounds[arm.name]]

    less = f"{comparison.loss_unit}, less is better"
    matches = [arm.exact_match for arm in arms]
    perplexities = [arm.perplexity for arm in arms]
    panels = [
        Panel("exact match", "more is better", matches, interval("exact_match")),
        Panel("loss", less, [arm.loss for arm in arms], interval("nll")),
        Panel("perplexity", "less is better", perplexities, interval("perplexity")),
        Panel("training", "tokens/s, more is better", [arm.tokens_per_second for arm in arms]),
        Panel("memory", describe_memory(arms), [to_gigabytes(arm) for arm in arms]),
    ]
    return [panel for panel in panels if any(value is not None for value in panel.values)]


def describe_memory(arms: Sequence[ComparedArm]) -> str:
    """Return the unit of the memory, and where its figures come from."""
    sources = sorted({arm.memory_source for arm in arms if arm.memory_bytes})
    return f"GB, {' or '.join(sources)}, less is better"


def to_gigabytes(arm: ComparedArm) -> float | None:
    """Return an arm's peak in GB."""
    return arm.memory_bytes / 1e9 if arm.memory_bytes else None


def plot_arms(path: Path, comparison: Comparison, bounds: ArmBounds) -> None:
    """Plot the figures of all configurations side by side.

    Args:
        path: The PNG file to write.
        comparison: What is compared.
        bounds: From `bound_arms`.
    """
    panels = list_panels(comparison, bounds)
    names = [arm.name for arm in comparison.arms]
    with draw_figure(path, 1.5 + 2.4 * len(panels), 1.7 + 0.45 * len(names)) as figure:
        found = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, panel in zip(found, panels, strict=True):
            draw_panel(axes, panel)
        found[0].set_yticks(range(len(names)), names)
        found[0].invert_yaxis()
        title = f"Scored on {comparison.split} ({comparison.rows} rows, 95 % intervals)"
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)


def draw_panel(axes: Any, panel: Panel) -> None:
    """Draw one bar for each configuration, with its interval and its value at its end."""
    values = [value or 0.0 for value in panel.values]
    axes.barh(range(len(values)), values, 0.62, color=COLORS["finetuned"])
    ends = list(values)
    if len(panel.bounds) == len(values):
        reach = [
            [max(0.0, b.value - b.lower) for b in panel.bounds],
            [max(0.0, b.upper - b.value) for b in panel.bounds],
        ]
        places = range(len(values))
        axes.errorbar(values, places, xerr=reach, fmt="none", ecolor=INK, elinewidth=1, capsize=3)
        ends = [max(b.upper, b.value) for b in panel.bounds]
    for place, (value, end) in enumerate(zip(panel.values, ends, strict=True)):
        axes.annotate(
            "not known" if value is None else f"{value:,.4g}", (end, place), (4, 0),
            textcoords="offset points", va="center", fontsize=8, color=MUTED,
        )  # fmt: skip
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.label, fontsize=8)
    axes.set_xlim(0, 1.35 * (max(ends, default=0) or 1))  # nothing but zeros has no scale
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
