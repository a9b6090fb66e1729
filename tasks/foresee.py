"""Foresee what the gate will be able to tell, before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from configs.errors import RequestError
from configs.schema import RunConfig
from tasks.evaluation.guards import GUARD_SPLITS, Guard, describe_guard
from tasks.evaluation.looks import Look, preview_look, spend_alpha
from tasks.formatting.rows.examples import Example, digest_questions, read_examples
from tasks.records.handles import FormattedData

if TYPE_CHECKING:
    from tasks.evaluation.outlook import Outlook, PlannedRow

LOG = logging.getLogger("hone")


def announce_gate(config: RunConfig, formatted: FormattedData) -> None:
    """Log what the gate will be able to notice, before anything is trained."""
    look, outlook = foresee(config, formatted, read_evaluation_sets(config, formatted))
    LOG.info(
        "gate: %s decides on test, look %d, alpha %.4f; smallest gain that 80 %% of runs notice, "
        "by the share of answers that change: %s",
        ", ".join(formatted.primary_metrics), look.number, look.alpha,
        ", ".join(
            f"{share}: {'none' if gain is None else f'{gain:.3f}'}"
            for share, gain in outlook.smallest_gain.items()
        ),
    )  # fmt: skip
    warn_of(outlook)


def warn_of(outlook: Outlook) -> None:
    """Log which guards an equally good model would mostly fail."""
    for guard, why in (*outlook.refusals, *outlook.worn):
        LOG.warning("gate: the guard of %s: %s", describe_guard(guard), why)
    if outlook.worn:
        LOG.warning("gate: most of alpha is spent on this test set; a renewed one starts afresh")


def foresee(
    config: RunConfig, formatted: FormattedData, splits: Mapping[str, Sequence[Example]]
) -> tuple[Look, Outlook]:
    """Return which look at the test set is next, and what it can show."""
    from tasks.evaluation.outlook import foresee_gate

    look = preview_look(
        config.publish.name, digest_questions(splits["test"]), alpha=config.gate.alpha
    )
    number = config.evaluation.num_samples
    outlook = foresee_gate(
        {name: describe_rows(rows, number) for name, rows in splits.items()},
        primary_metrics=formatted.primary_metrics,
        gate=config.gate,
        alpha=look.alpha,
        first_alpha=spend_alpha(config.gate.alpha, 1),
    )
    return look, outlook


def read_evaluation_sets(config: RunConfig, formatted: FormattedData) -> dict[str, list[Example]]:
    """Return the examples of the sets that the gate reads."""
    wanted = {"test", *GUARD_SPLITS, *(guard.split for guard in config.gate.guards)}
    return {
        name: read_examples(formatted.folder / "examples" / f"{name}.jsonl")
        for name in sorted(wanted & set(formatted.splits))
    }


def describe_rows(examples: Sequence[Example], num_samples: int | None) -> list[PlannedRow]:
    """Return what the gate will know of the rows that are evaluated."""
    from tasks.evaluation.evaluate import select_samples
    from tasks.evaluation.outlook import PlannedRow

    return [
        PlannedRow(example.group, example.fields, len(example.reference or example.text))
        for example in select_samples(examples, num_samples)
    ]


def plan_gate(config: RunConfig, formatted: FormattedData) -> dict[str, Any]:
    """Return the fields of a plan that are about the decision.

    Raises:
        RequestError: An equally good model would mostly fail a guard.
    """
    from tasks.evaluation.outlook import count_groups, foresee_examples

    splits = read_evaluation_sets(config, formatted)
    look, outlook = foresee(config, formatted, splits)
    if outlook.refusals:
        guard, why = outlook.refusals[0]
        raise RequestError(
            where=find_margin_key(config, guard),
            message=f"the guard of {describe_guard(guard)}: {why}",
            allowed="a margin that a model which is exactly as good passes in half of all runs",
            hint="hone run does not refuse it, and is then likely to end as inconclusive",
        )
    warn_of(outlook)
    return {
        "look": look.number,
        "alpha": look.alpha,
        "alpha_left": look.remaining,
        "smallest_detectable_gain": outlook.smallest_gain,
        "smallest_detectable_nll_gain": outlook.smallest_nll_gain,
        "smallest_detectable_regression": outlook.smallest_regression,
        "equal_model_passes": outlook.equal_passes,
        "examples_needed": foresee_examples(
            count_groups(describe_rows(splits["test"], None)),
            look.alpha,
            config.gate.min_improvement,
        ),
    }


def find_margin_key(config: RunConfig, guard: Guard) -> str:
    """Return the config key that a guard's margin comes from."""
    for number, entry in enumerate(config.gate.guards):
        is_same = (entry.metric, entry.split) == (guard.metric, guard.split)
        if is_same and bool(entry.slice) == bool(guard.slice) and entry.max_regression is not None:
            return f"gate.guards[{number}].max_regression"
    return "gate.max_regression"
