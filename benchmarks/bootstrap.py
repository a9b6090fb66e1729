"""How long the gate takes to bound one comparison: 10,000 resamples, beside scipy's bootstrap.

Run: python -m benchmarks.bootstrap [--json] [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped]

from tasks.evaluation.bleu import NUM_SUMS, combine_bleu
from tasks.evaluation.metrics import combine_perplexity, combine_ratio
from tasks.evaluation.significance import compare_sums

Array = npt.NDArray[np.float64]

NUM_RESAMPLES = 10_000
SETTINGS = ((1_000, 1), (10_000, 1), (10_000, 10))  # rows, rows of a group


@dataclass(frozen=True)
class Figure:
    """The least processor time of several repeats."""

    what: str
    rows: int
    group_size: int
    seconds: float


def measure(work: Callable[[], object], repeats: int) -> float:
    """Return the least processor time of this process, one thread."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return round(min(seconds), 3)


def draw_sums(rng: np.random.Generator, rows: int) -> dict[str, tuple[Array, Array]]:
    """Draw what exact match, NLL and corpus BLEU are made of, of two arms."""
    tokens = np.ceil(rng.lognormal(3.0, 0.8, rows))
    exact = [np.stack([rng.integers(0, 2, rows), np.ones(rows)], axis=1) * 1.0 for _ in "ab"]
    nats = [np.stack([tokens * rng.normal(2, 0.5, rows), tokens], axis=1) for _ in "ab"]
    words = [rng.integers(1, 20, (rows, NUM_SUMS)) * 1.0 for _ in "ab"]
    return {
        "exact_match": (exact[0], exact[1]),
        "nll": (nats[0], nats[1]),
        "perplexity": (nats[0], nats[1]),
        "bleu": (words[0], words[1]),
    }


COMBINES = {
    "exact_match": combine_ratio,
    "nll": combine_ratio,
    "perplexity": combine_perplexity,
    "bleu": combine_bleu,
}


def measure_gate(repeats: int) -> list[Figure]:
    """Measure the gate's own comparison in each setting."""
    figures = []
    for rows, size in SETTINGS:
        groups = [f"g{row // size}" for row in range(rows)]
        for metric, (candidate, opponent) in draw_sums(np.random.default_rng(0), rows).items():

            def compare(
                name: str = metric, a: Array = candidate, b: Array = opponent,
                names: list[str] = groups,
            ) -> object:  # fmt: skip
                return compare_sums(
                    a, b, names, COMBINES[name], higher_is_better=True, alpha=0.025,
                    num_resamples=NUM_RESAMPLES, seed=0,
                )  # fmt: skip

            figures.append(Figure(metric, rows, size, measure(compare, repeats)))
    return figures


def measure_scipy(repeats: int) -> Figure:
    """Measure scipy's percentile bootstrap of a mean difference, vectorised, in batches."""
    candidate, opponent = draw_sums(np.random.default_rng(0), 10_000)["exact_match"]
    difference = candidate[:, 0] - opponent[:, 0]

    def compare() -> object:
        return stats.bootstrap(
            (difference,), np.mean, n_resamples=NUM_RESAMPLES, batch=100, method="percentile",
            vectorized=True, rng=np.random.default_rng(0),
        )  # fmt: skip

    return Figure("exact_match, scipy.stats.bootstrap", 10_000, 1, measure(compare, repeats))


def main(arguments: list[str] | None = None) -> None:
    """Print the figures, as a table or as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    figures = [*measure_gate(options.repeats), measure_scipy(options.repeats)]
    if options.json:
        result = {
            "num_resamples": NUM_RESAMPLES,
            "seconds": max(
                f.seconds for f in figures[:-1] if (f.rows, f.group_size) == (10_000, 1)
            ),
            "figures": [asdict(figure) for figure in figures],
        }
        sys.stdout.write(json.dumps(result) + "\n")
        return
    print("| what | rows | groups of | seconds |")
    print("|:--|--:|--:|--:|")
    for f in figures:
        print(f"| {f.what} | {f.rows:,} | {f.group_size} | {f.seconds:.3f} |")


if __name__ == "__main__":
    main()
