"""`hone plan`: everything that can be known before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from configs.load import load_config
from flows.logs import choose_logging
from flows.terminal import print_json, print_table, print_text
from tasks.records.runs import check_home

if TYPE_CHECKING:
    from tasks.plan import Plan

MIB = 2**20


def show_plan(preset: str, overrides: Sequence[str], *, as_json: bool) -> int:
    """Print the plan of a run; the data it versions and formats is ready for the run."""
    config = load_config(preset, overrides)
    check_home()
    choose_logging()
    from tasks.plan import plan_run

    plan = plan_run(config)
    if as_json:
        print_json(plan.model_dump(mode="json"))
    else:
        show(plan)
    return 0


def show(plan: Plan) -> None:
    """Print a plan for a person."""
    print_text(plan.preview)
    rows = plan.rows
    print_text(
        f"rows     {rows.read} read = {rows.kept} kept + {rows.invalid} invalid "
        f"+ {rows.filtered} filtered; {rows.cut} cut"
    )
    for reason, count in plan.reasons.items():
        print_text(f"         {count:>6}  {reason}")
    print_table(
        ["split", "rows", "groups", "tokens", "trained tokens"],
        [
            [name, str(s.rows), str(s.groups), str(s.tokens), str(s.trained_tokens)]
            for name, s in plan.splits.items()
        ],
    )
    for label, text in describe(plan).items():
        print_text(f"{label:<9}{text}")


def describe(plan: Plan) -> dict[str, str]:
    """Return what a plan says, one line for each subject."""
    fits = "fits" if plan.fits else "does not fit: see docs/troubleshooting.md"
    needed, there = plan.memory_bytes / MIB, plan.device_memory_bytes / MIB
    gains = ", ".join(
        f"{gain:.3f} when {float(share):.0%} of the answers change"
        for share, gain in plan.smallest_detectable_gain.items()
        if gain is not None
    )
    trained, total = plan.num_trainable_parameters, plan.num_parameters
    batch, epoch = plan.examples_per_step, plan.steps_per_epoch
    spent, left = plan.alpha, plan.alpha_left
    return {
        "data": f"commit {plan.data_commit[:12]}",
        "base": f"{plan.base} @ {plan.base_revision[:12]}",
        "training": f"{plan.steps} steps of {batch} examples, {epoch} an epoch",
        "weights": f"{trained:,} of {total:,} parameters trained",
        "memory": f"about {needed:,.0f} of {there:,.0f} MiB on {plan.device}: {fits}",
        "gate": f"{', '.join(plan.primary_metrics)} on test, against baseline and champion",
        "look": f"number {plan.look} at this test set, alpha {spent:.4f}; {left:.4f} is left after",
        "gain": f"the smallest that 80 % of runs would notice: {gains or 'none'}",
    }
