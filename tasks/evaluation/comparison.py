"""Several configurations on the same rows: their records, intervals and table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.evaluation.intervals import bound_rows
from tasks.evaluation.predictions import Prediction
from tasks.evaluation.significance import Bounds
from tasks.evaluation.tables import format_bounds, render_table
from tasks.records.handles import Record

METRICS = ("exact_match", "nll", "perplexity")
NUM_RESAMPLES = 10_000
SEED = 0

ArmBounds = Mapping[str, Mapping[str, Bounds]]
"""By configuration, then by metric."""


class ComparedArm(Record):
    """What is known of one configuration when it has been trained and scored."""

    name: str
    method: str
    memory_bytes: int | None
    """Peak on the device."""
    memory_source: str
    """`measured`, `predicted` or `unknown`."""
    tokens_per_second: float | None
    """Of training; None where its engine does not tell."""
    training_seconds: float
    num_trainable_parameters: int
    model_bytes: int
    """Size of the weights that are trained."""
    loss: float
    perplexity: float
    exact_match: float | None
    """None for `text` rows, which have no answers."""
    run_dir: str
    """Relative to HONE_HOME."""
    reused: tuple[str, ...]
    """Stages that were answered from the cache."""


class Comparison(Record):
    """Several configurations on the same rows."""

    name: str
    path: str
    """Relative to HONE_HOME."""
    split: str
    """What the arms were scored on; never `test`."""
    rows: int
    loss_unit: str
    arms: tuple[ComparedArm, ...]
    plot: str
    """Relative to HONE_HOME."""


def bound_arms(
    predictions: Mapping[str, Sequence[Prediction]], *, same_tokenizer: bool
) -> dict[str, dict[str, Bounds]]:
    """Return the 95 % interval of each metric by configuration.

    Args:
        predictions: Of each configuration, on the same rows.
        same_tokenizer: Otherwise losses are counted in bits per byte of text.
    """
    return {
        name: bound_rows(
            rows, METRICS, num_resamples=NUM_RESAMPLES, seed=SEED, same_tokenizer=same_tokenizer
        )
        for name, rows in predictions.items()
    }


def name_loss_unit(*, same_tokenizer: bool) -> str:
    """Return what losses are counted in."""
    return "nats per token" if same_tokenizer else "bits per byte"


def list_columns(comparison: Comparison) -> list[str]:
    """Return the table's head."""
    return ["preset", "method", "memory (GB)", "training (tokens/s)", "training (s)",
            f"loss ({comparison.loss_unit})", "perplexity", "exact match"]  # fmt: skip


def list_cells(arm: ComparedArm) -> list[str]:
    """Return an arm's line of the table; what is not known stays empty."""
    memory = f"{arm.memory_bytes / 1e9:.2f}" if arm.memory_bytes else ""
    return [
        arm.name,
        arm.method,
        f"{memory} ({arm.memory_source})" if memory else "",
        f"{arm.tokens_per_second:,.0f}" if arm.tokens_per_second else "",
        f"{arm.training_seconds:,.0f}",
        f"{arm.loss:.4f}",
        f"{arm.perplexity:.4g}",
        "" if arm.exact_match is None else f"{arm.exact_match:.4f}",
    ]


def render_arms(comparison: Comparison, bounds: ArmBounds, plot: str) -> str:
    """Return the comparison as a Markdown page.

    Args:
        comparison: What is compared.
        bounds: From `bound_arms`.
        plot: The plot's path, relative to the page.
    """
    names = list(bounds)
    metrics = [name for name in METRICS if all(name in bounds[arm] for arm in names)]
    intervals = [[metric, *(format_bounds(bounds[a][metric]) for a in names)] for metric in metrics]
    return "\n\n".join([
        f"# Comparison on {comparison.split} ({comparison.rows} rows)",
        "For choosing; only a run's gate decides, on `test`, which this has not read.",
        render_table(list_columns(comparison), [list_cells(arm) for arm in comparison.arms]),
        f"![comparison]({plot})",
        "## 95 % intervals, resampled over groups",
        render_table(["metric", *names], intervals),
    ]) + "\n"  # fmt: skip
