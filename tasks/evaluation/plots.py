"""Plots of an evaluation as PNG files: metrics, loss, won and lost examples, answer lengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tasks.evaluation.changes import Change, Changes, compute_token_nll
from tasks.evaluation.metrics import find_metric
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.significance import Bounds
from tasks.records.handles import Arm
from tasks.records.writing import open_atomic

COLORS: dict[Arm, str] = {"baseline": "#94a3b8", "champion": "#d97706", "finetuned": "#2563eb"}
LABELS: dict[Arm, str] = {
    "baseline": "baseline", "champion": "champion", "finetuned": "fine-tuned",
}  # fmt: skip
WON, LOST, UNCHANGED = "#059669", "#dc2626", "#a8b3c2"
INK, MUTED, GRID = "#0f172a", "#475569", "#e2e8f0"
LEAST_NLL = 1e-4  # nats a token; more certain answers are drawn here
STYLE = {
    "font.size": 10,
    "axes.edgecolor": "#94a3b8",
    "axes.labelcolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "legend.frameon": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}


@contextmanager
def draw_figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure and write it when the block ends; its bytes follow from its content."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        with open_atomic(path, "wb") as file:
            figure.savefig(file, format="png", metadata={"Software": None})


def order_arms(arms: Mapping[Arm, Any]) -> list[Arm]:
    """Return the arms that there are, the candidate last."""
    return [arm for arm in COLORS if arm in arms]


def draw_bars(
    axes: Any, intervals: Mapping[Arm, Mapping[str, Bounds]], metrics: Sequence[str]
) -> None:
    """Draw one bar for each arm and metric, from top to bottom, with its interval and value."""
    arms = order_arms(intervals)
    height = 0.8 / len(arms)
    for index, arm in enumerate(arms):
        bounds = [intervals[arm][metric] for metric in metrics]
        places = [y + (index - (len(arms) - 1) / 2) * height for y in range(len(metrics))]
        values = [b.value for b in bounds]
        # A bound may lie on the other side of the value by rounding only.
        reach = [
            [max(0.0, b.value - b.lower) for b in bounds],
            [max(0.0, b.upper - b.value) for b in bounds],
        ]
        axes.barh(places, values, 0.9 * height, color=COLORS[arm], label=LABELS[arm])
        axes.errorbar(values, places, xerr=reach, fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
        for place, bound in zip(places, bounds, strict=True):
            axes.annotate(
                f"{bound.value:.2f}", (max(bound.upper, bound.value), place), (4, 0),
                textcoords="offset points", va="center", fontsize=8, color=MUTED,
            )  # fmt: skip
    axes.set_yticks(range(len(metrics)), [metric.replace("_", " ") for metric in metrics])
    axes.set_ylim(len(metrics) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def list_shares(intervals: Mapping[Arm, Mapping[str, Bounds]]) -> list[str]:
    """Return the metrics that every arm has and whose values all lie in [0, 1], in order."""
    first = next(iter(intervals.values()))
    return [
        name
        for name in first
        if find_metric(name).has_direction
        and find_metric(name).higher_is_better
        and all(name in found and 0 <= found[name].value <= 1 for found in intervals.values())
    ]


def plot_metrics(
    path: Path, intervals: Mapping[Arm, Mapping[str, Bounds]], *, split: str, num_rows: int
) -> None:
    """Plot every metric of one split by arm, with 95 % intervals.

    Args:
        path: The PNG file to write.
        intervals: By arm, then by metric.
        split: The split's name, for the title.
        num_rows: Its rows, for the title.
    """
    shares = list_shares(intervals)
    has_nll = all("nll" in found for found in intervals.values())
    heights = ([len(shares)] if shares else []) + ([1] if has_nll else [])
    line = 0.16 + 0.13 * len(intervals)  # inches
    with draw_figure(path, 7.5, 1.9 + line * sum(heights) + 0.5 * has_nll) as figure:
        panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        if shares:
            draw_bars(panels[0], intervals, shares)
            panels[0].set_xlim(0, 1.1)
            panels[0].set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
            panels[0].set_xlabel("score (more is better)")
        if has_nll:
            draw_bars(panels[-1], intervals, ["nll"])
            panels[-1].set_xlabel("nats per token (less is better)")
            panels[-1].margins(x=0.12)
        panels[0].set_title(f"Metrics on {split} ({num_rows} rows, 95 % intervals)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=len(labels))


def plot_loss(path: Path, history: Sequence[Mapping[str, Any]], *, best_step: int | None) -> None:
    """Plot training and validation loss over the optimiser steps.

    Args:
        path: The PNG file to write.
        history: Logged records with `step`, and `loss` or `eval_loss`, in nats a token.
        best_step: The step whose checkpoint was kept.
    """
    with draw_figure(path, 7.5, 4.2) as figure:
        axes = figure.subplots()
        for key, label, color in (
            ("loss", "training", COLORS["baseline"]),
            ("eval_loss", "validation", COLORS["finetuned"]),
        ):
            points = [(record["step"], record[key]) for record in history if key in record]
            marker = "o" if key == "eval_loss" or len(points) < 3 else None
            if points:
                axes.plot(*zip(*points, strict=True), color=color, label=label, marker=marker)
        if best_step is not None:
            axes.axvline(best_step, color=WON, linestyle="--", linewidth=1)
            axes.annotate(
                f"best: step {best_step}", (best_step, 0), (-4, 4),
                xycoords=("data", "axes fraction"), textcoords="offset points",
                color=WON, ha="right", va="bottom", fontsize=9,
            )  # fmt: skip
        axes.set(xlabel="optimiser step", ylabel="loss (nats per trained token)", title="Loss")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid()
        axes.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")


def plot_changes(path: Path, changes: Changes, *, opponent: Arm, split: str) -> None:
    """Plot each example's NLL before and after; colour tells won, lost and unchanged answers."""
    groups: list[tuple[str, str, Sequence[Change]]] = [
        ("unchanged", UNCHANGED, changes.unchanged),
        ("won", WON, changes.won),
        ("lost", LOST, changes.lost),
    ]
    with draw_figure(path, 5.6, 6.0) as figure:
        axes = figure.subplots()
        seen: list[float] = []
        for label, color, rows in groups:
            before = [max(LEAST_NLL, compute_token_nll(change.opponent)) for change in rows]
            after = [max(LEAST_NLL, compute_token_nll(change.candidate)) for change in rows]
            seen += [*before, *after]
            name = f"{label}: {len(rows)}"
            axes.scatter(before, after, 22, color, alpha=0.75, linewidths=0, label=name)
        limits = min(seen) / 1.3, max(seen) * 1.3
        axes.plot(limits, limits, color=MUTED, linewidth=1, linestyle="--", zorder=0)
        # Most answers are near-certain and a few are far off: only a log scale shows both.
        axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
        axes.set_xlabel(f"{LABELS[opponent]}: NLL (nats per token, log scale)")
        axes.set_ylabel("fine-tuned: NLL (nats per token, log scale)")
        axes.set_title(f"Each example of {split} against the {LABELS[opponent]}")
        axes.grid()
        handles, labels = axes.get_legend_handles_labels()
        title = "better below the line"
        figure.legend(handles, labels, title=title, loc="outside lower center", ncols=3)


def plot_lengths(
    path: Path, predictions: Mapping[Arm, Sequence[Prediction]], *, split: str
) -> None:
    """Plot how long the answers are by arm, and how many ended by themselves."""
    arms = order_arms(predictions)
    longest = max((row.num_new_tokens for arm in arms for row in predictions[arm]), default=1)
    bins = [index * max(1, -(-longest // 30)) for index in range(32)]
    with draw_figure(path, 7.5, 1.2 + 1.7 * len(arms)) as figure:
        panels = figure.subplots(len(arms), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, arm in zip(panels, arms, strict=True):
            rows = predictions[arm]
            lengths = [row.num_new_tokens for row in rows]
            ended = sum(row.ended for row in rows) / max(1, len(rows))
            axes.hist(lengths, bins=bins, color=COLORS[arm], edgecolor="white", linewidth=0.6)
            label = f"{LABELS[arm]}: {ended:.0%} ended by themselves"
            axes.set_title(label, loc="right", fontsize=10, fontweight="normal", color=MUTED, pad=6)
            axes.set_ylabel("answers")
            axes.grid(axis="y")
        panels[0].set_title(f"Length of the answers on {split}")
        panels[-1].set_xlabel("new tokens, the end token included")
        panels[-1].set_xlim(0, 1.04 * longest)
