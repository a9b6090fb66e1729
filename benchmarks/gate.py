"""How often the gate's rule publishes a null, notices a gain, and covers the truth, by simulation.

Also: a null among 30 looks at one test set, and a guard that passes a regression of its margin.

Run: python -m benchmarks.gate [--json] [--comparisons N] [--pair FOLDER FOLDER]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.schema import GateConfig
from tasks.evaluation.looks import spend_alpha
from tasks.evaluation.metrics import METRICS, combine_ratio
from tasks.evaluation.power import draw_outcomes, smallest_detectable
from tasks.evaluation.predictions import Prediction, read_predictions
from tasks.evaluation.regressions import pass_guard
from tasks.evaluation.significance import (
    compare_sums,
    find_bounds,
    find_least_informative,
    resample_sums,
)
from tasks.evaluation.student import find_student_quantile

# Shape suffixes: C comparisons, G groups, R rows of a group, K = 2 sums (value, weight).
Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ALPHA = 0.025
NUM_ROWS = (50, 200, 1000)
GROUP_SIZES = (1, 4, 10)
DISCORDANCE = 0.2
TRUE_GAIN = 0.1
BATCH = 100  # comparisons bounded together
NUM_LOOKS = 30
LOOKED_ROWS = 200
NEAR = 0.6  # of the t quantile: what is nearer to 0 is never published, and not resampled
MARGINS = (0.05, 0.1)
GUARDED = 5  # candidates of each guard for one comparison: they cost little


@dataclass(frozen=True)
class Figure:
    """A measured share with its Monte-Carlo standard error."""

    metric: str
    rows: int
    group_size: int
    share: float
    error: float
    gain: float | None = None
    """For power, the gain that `smallest_detectable` announced; for guards, their margin."""


def measure_share(
    flags: Flags, metric: str, rows: int, size: int, gain: float | None = None
) -> Figure:
    """Return the share of flags that are set, with its standard error."""
    share = float(flags.mean())
    error = math.sqrt(max(share * (1 - share), 1 / len(flags)) / len(flags))
    return Figure(metric, rows, size, round(share, 5), round(error, 5), gain)


def draw_signs(rng: np.random.Generator, shape: tuple[int, ...], gain: float) -> Array:
    """Draw +1 (won), -1 (lost), 0 (unchanged) with the stated discordance and gain."""
    uniform = rng.random(shape)
    won, lost = (DISCORDANCE + gain) / 2, (DISCORDANCE - gain) / 2
    return (uniform < won).astype(float) - (uniform > 1 - lost)


def draw_exact_match(rng: np.random.Generator, size: int, shape: tuple[int, int]) -> Array:
    """Draw exact-match differences of two seeds, shape (C, G, K).

    In a group that changes, nine rows of ten change, each way: the seeds differ by whole groups.
    """
    changed = draw_signs(rng, shape, 0.0)
    return np.stack([changed * rng.binomial(size, 0.9, shape), np.full(shape, size)], axis=-1)


def draw_nll(rng: np.random.Generator, size: int, shape: tuple[int, int], gain: float) -> Array:
    """Draw NLL differences (summed over a group's tokens) and tokens, shape (C, G, K).

    Long-tailed token counts; half of the noise is common to a group.
    """
    tokens = np.ceil(rng.lognormal(3.0, 0.8, (*shape, size)))
    common = rng.standard_t(5, (*shape, 1))
    noise = common + rng.standard_t(5, (*shape, size))
    nats = (tokens * (gain + 0.1 * noise)).sum(axis=-1)
    return np.stack([nats, tokens.sum(axis=-1)], axis=-1)


def bound_batch(sums_CGK: Array, alpha: float) -> Iterator[tuple[float, float]]:
    """Bound many comparisons with the gate's own functions; one draw of the resamples for all."""
    gate = GateConfig()
    num_groups = sums_CGK.shape[1]
    for start in range(0, len(sums_CGK), BATCH):
        part_CGK = sums_CGK[start : start + BATCH]
        columns = part_CGK.transpose(1, 0, 2).reshape(num_groups, -1)
        resampled = resample_sums(columns, gate.num_resamples, gate.seed)
        resampled = resampled.reshape(gate.num_resamples, -1, 2)
        for index, sums_GK in enumerate(part_CGK):
            value = float(combine_ratio(sums_GK.sum(axis=0)))
            values_B = combine_ratio(resampled[:, index])
            bounds = find_bounds(value, values_B, alpha=alpha, num_groups=num_groups)
            yield bounds.lower, bounds.upper


def bound_all(sums_CGK: Array) -> Array:
    """Return the bounds of many comparisons, shape (C, 2)."""
    bounds = np.array(list(bound_batch(sums_CGK, ALPHA)))
    check_batch(sums_CGK[0], bounds[0])
    return bounds


def decide_batch(sums_CGK: Array, alpha: float = ALPHA) -> Flags:
    """Return for each comparison whether it publishes, shape (C,).

    Comparisons that are far from it, by their standard error, are not resampled.
    """
    num_groups = sums_CGK.shape[1]
    informative = (sums_CGK[..., 0] != 0).sum(axis=1)
    totals = sums_CGK.sum(axis=1)
    values = totals[:, 0] / totals[:, 1]
    residuals = sums_CGK[..., 0] - values[:, None] * sums_CGK[..., 1]
    errors = np.sqrt((residuals**2).sum(axis=1)) / totals[:, 1]
    near = values > NEAR * find_student_quantile(1 - alpha, num_groups - 1) * errors
    near &= informative >= find_least_informative(alpha)
    published = np.zeros(len(sums_CGK), dtype=bool)
    if near.any():
        published[near] = [lower > 0 for lower, _ in bound_batch(sums_CGK[near], alpha)]
    return published


def check_batch(sums_GK: Array, bounds: Array) -> None:
    """Assert that the batch's bounds are those of the gate's `compare_sums`."""
    gate = GateConfig()
    # Zero-padded names keep the order of the groups, and with it the resamples.
    names = [f"{index:06d}" for index in range(len(sums_GK))]
    opponent_GK = np.stack([np.zeros(len(sums_GK)), sums_GK[:, 1]], axis=-1)
    found = compare_sums(
        sums_GK, opponent_GK, names, combine_ratio, higher_is_better=True, alpha=ALPHA,
        num_resamples=gate.num_resamples, seed=gate.seed,
    ).improvement  # fmt: skip
    assert np.allclose([found.lower, found.upper], bounds), (found, bounds)


def flip_signs(rng: np.random.Generator, sums_CGK: Array) -> Array:
    """Swap the two arms of each group at random: whatever the pair was, it is exchangeable now."""
    flips_CG = rng.choice([-1.0, 1.0], sums_CGK.shape[:2])
    return np.stack([sums_CGK[..., 0] * flips_CG, sums_CGK[..., 1]], axis=-1)


def measure_false_publishes(comparisons: int) -> list[Figure]:
    """Compare pairs of seeds that are no better than each other; none should be published."""
    figures = []
    for rows in NUM_ROWS:
        for size in GROUP_SIZES:
            rng = np.random.default_rng([1, rows, size])
            shape = (comparisons, rows // size)
            matches = flip_signs(rng, draw_exact_match(rng, size, shape))
            nats = flip_signs(rng, draw_nll(rng, size, shape, 0.0))
            figures += [
                measure_share(decide_batch(matches), "exact_match", rows, size),
                measure_share(decide_batch(nats), "nll", rows, size),
            ]
    return figures


def measure_looks(sequences: int) -> list[Figure]:
    """Look 30 times at one test set with nulls; none of a whole sequence should be published."""
    figures = []
    for size in (1, 4):
        for metric in ("exact_match", "nll"):
            rng = np.random.default_rng([5, size, len(metric)])
            shape = (sequences, LOOKED_ROWS // size)
            published = np.zeros(sequences, dtype=bool)
            for look in range(1, NUM_LOOKS + 1):
                is_nll = metric == "nll"
                drawn = (
                    draw_nll(rng, size, shape, 0.0)
                    if is_nll
                    else draw_exact_match(rng, size, shape)
                )
                published |= decide_batch(flip_signs(rng, drawn), spend_alpha(ALPHA, look))
            figures.append(measure_share(published, metric, LOOKED_ROWS, size))
    return figures


def measure_guards(candidates: int) -> list[Figure]:
    """Guard candidates that are worse by just what the guard allows; none should pass.

    With the rule's simulation in `hone plan`, which a test holds against the gate. Exact match, the
    rows of a group changing together; the figure is the worst of three shares of rows that change.
    """
    figures = []
    for rows in NUM_ROWS:
        for size in GROUP_SIZES:
            groups = rows // size
            sizes_G = np.full(groups, size, dtype=np.float32)
            for margin in MARGINS:
                rng = np.random.default_rng([6, rows, size, round(100 * margin)])
                found = [
                    pass_guard(
                        draw_outcomes(
                            rng.random((candidates, groups), dtype=np.float32), -margin, changed
                        ),
                        sizes_G, alpha=ALPHA, margin=-margin, seed=0,
                    )
                    for changed in (margin, 2 * margin, 4 * margin)
                ]  # fmt: skip
                worst = max(found, key=lambda flags: float(flags.mean()))
                figures.append(measure_share(worst, "exact_match", rows, size, margin))
    return figures


def measure_power(comparisons: int) -> list[Figure]:
    """Compare candidates that are better by the smallest gain that was announced for them."""
    figures = []
    for rows in NUM_ROWS:
        for size in GROUP_SIZES:
            groups = rows // size
            announced = smallest_detectable(
                [size] * groups, alpha=ALPHA, discordances=[DISCORDANCE]
            )[DISCORDANCE]
            if announced is None:
                continue  # no gain can be shown here, and `hone plan` says so
            rng = np.random.default_rng([2, rows, size])
            signs = draw_signs(rng, (comparisons, groups), announced)
            sums = np.stack([signs * size, np.full(signs.shape, float(size))], axis=-1)
            published = decide_batch(sums)
            figures.append(measure_share(published, "exact_match", rows, size, announced))
    return figures


def measure_coverage(comparisons: int) -> list[Figure]:
    """Count how often the 95 % interval holds the true gain."""
    figures = []
    for rows in NUM_ROWS:
        for size in GROUP_SIZES:
            rng = np.random.default_rng([3, rows, size])
            shape = (comparisons, rows // size)
            signs = draw_signs(rng, shape, TRUE_GAIN)
            matches = np.stack([signs * size, np.full(shape, float(size))], axis=-1)
            nats = draw_nll(rng, size, shape, TRUE_GAIN)
            for metric, sums in (("exact_match", matches), ("nll", nats)):
                bounds = bound_all(sums)
                slack = 1e-9  # a share moves in steps; a bound on the true one covers it
                covered = (bounds[:, 0] <= TRUE_GAIN + slack) & (bounds[:, 1] >= TRUE_GAIN - slack)
                figures.append(measure_share(covered, metric, rows, size))
    return figures


def read_rows(folder: Path) -> dict[str, Prediction]:
    """Return the predictions of all splits in a `predictions/` folder, by id."""
    return {row.id: row for file in folder.glob("*.jsonl") for row in read_predictions(file)}


def measure_pair(first: Path, second: Path, comparisons: int) -> list[Figure]:
    """Flip the predictions of two real models at random, drawn in groups of 1, 4 and 10 rows."""
    rows_a, rows_b = read_rows(first), read_rows(second)
    ids = sorted(rows_a.keys() & rows_b.keys())
    figures = []
    for metric in ("exact_match", "nll"):
        sums_a = METRICS[metric].collect_sums([rows_a[i] for i in ids])
        sums_b = METRICS[metric].collect_sums([rows_b[i] for i in ids])
        pairs = np.stack([sums_a[:, 0] - sums_b[:, 0], sums_a[:, 1]], axis=-1)
        for rows in NUM_ROWS:
            for size in GROUP_SIZES:
                rng = np.random.default_rng([4, rows, size])
                drawn = pairs[rng.integers(0, len(pairs), (comparisons, rows // size, size))]
                sums = flip_signs(rng, drawn.sum(axis=2))
                figures.append(measure_share(decide_batch(sums), metric, rows, size))
    return figures


def is_measurable(figure: Figure) -> bool:
    """Say whether enough groups change for exact match to be measured at all.

    With 5 groups of which a fifth changes, most test sets show no change: nothing covers there,
    and the gate refuses to say better.
    """
    expected = figure.rows / figure.group_size * DISCORDANCE
    return figure.metric == "nll" or expected >= find_least_informative(ALPHA)


def find_most(figures: Sequence[Figure]) -> Figure:
    """Return the figure with the largest share."""
    return max(figures, key=lambda figure: figure.share)


def summarise(comparisons: int, pair: tuple[Path, Path] | None) -> dict[str, object]:
    """Run everything and return one JSON value: the worst figures first, then all of them."""
    settings = {
        "false_publish": measure_false_publishes(comparisons),
        "power": measure_power(comparisons),
        "coverage": measure_coverage(comparisons),
        "false_publish_in_30_looks": measure_looks(comparisons),
        "guard_passes_its_margin": measure_guards(GUARDED * comparisons),
    }
    if pair:
        settings["false_publish_pair"] = measure_pair(*pair, comparisons)
    worst = {
        "false_publish": find_most(settings["false_publish"]),
        "power": min((f for f in settings["power"] if f.gain), key=lambda f: f.share),
        "coverage": max(
            (f for f in settings["coverage"] if is_measurable(f)),
            key=lambda f: abs(f.share - (1 - 2 * ALPHA)),
        ),
        "false_publish_in_30_looks": find_most(settings["false_publish_in_30_looks"]),
        "guard_passes_its_margin": find_most(settings["guard_passes_its_margin"]),
    }
    if pair:
        worst["false_publish_pair"] = find_most(settings["false_publish_pair"])
    return {
        **{name: figure.share for name, figure in worst.items()},
        "monte_carlo_error": {name: figure.error for name, figure in worst.items()},
        "alpha": ALPHA,
        "comparisons": comparisons,
        "num_resamples": GateConfig().num_resamples,
        "settings": {name: [asdict(f) for f in figures] for name, figures in settings.items()},
    }


def print_table(result: dict[str, Any]) -> None:
    """Print every figure as a line of a Markdown table."""
    print("| figure | metric | rows | groups of | share | Monte-Carlo error | gain or margin |")
    print("|:--|:--|--:|--:|--:|--:|--:|")
    for name, figures in result["settings"].items():
        for f in figures:
            gain = "" if f["gain"] is None else f"{f['gain']:.3f}"
            cells = [name, f["metric"], f["rows"], f["group_size"], f"{f['share']:.4f}",
                     f"{f['error']:.4f}", gain]  # fmt: skip
            print(f"| {' | '.join(map(str, cells))} |")


def main(arguments: list[str] | None = None) -> None:
    """Print the figures, as a table or as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--comparisons", type=int, default=2_000, help="of each setting")
    parser.add_argument("--pair", type=Path, nargs=2, help="predictions/ of two seeds")
    options = parser.parse_args(arguments)
    result = summarise(options.comparisons, options.pair)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        print_table(result)


if __name__ == "__main__":
    main()
