"""`hone plan`: everything that can be known before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from configs.load import load_config
from flows.logs import choose_logging
from flows.terminal import print_json, print_table, print_text
from tasks.records.runs import check_home

if TYPE_CHECKING:
    from tasks.plan import Plan, PlannedTraining

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
    show_examples_needed(plan)
    if plan.training and plan.training.changes:
        show_changes(plan)


def describe(plan: Plan) -> dict[str, str]:
    """Return what a plan says, one line for each subject."""
    batch, epoch = plan.examples_per_step, plan.steps_per_epoch
    spent, left = plan.alpha, plan.alpha_left
    return {
        "data": f"commit {plan.data_commit[:12]}",
        "base": f"{plan.base} @ {plan.base_revision[:12]}",
        "training": f"{plan.steps} steps of {batch} examples, {epoch} an epoch",
        **(describe_training(plan) if plan.training else {"memory": plan.training_unknown}),
        "gate": f"{', '.join(plan.primary_metrics)} on test, against baseline and champion",
        "look": f"number {plan.look} at this test set, alpha {spent:.4f}; {left:.4f} is left after",
        "gain": f"the smallest that 80 % of runs would notice: {describe_gain(plan)}",
        **describe_guards(plan),
    }


def describe_gain(plan: Plan) -> str:
    """Return the smallest gains that would be noticed, of a share and of NLL where it decides."""
    shares = [
        f"{gain:.3f} when {float(share):.0%} of the answers change"
        for share, gain in plan.smallest_detectable_gain.items()
        if gain is not None
    ]
    nats = [
        f"{gain:.3f} nats a token when a group's changes by {spread} (standard deviation)"
        for spread, gain in plan.smallest_detectable_nll_gain.items()
        if gain is not None
    ]
    return ", ".join([*nats, *shares]) or "none"


def describe_guards(plan: Plan) -> dict[str, str]:
    """Return what each guard holds back, and how often an equally good model passes it."""
    lines = []
    for guard, regressions in plan.smallest_detectable_regression.items():
        found = [
            f"{float(share):.0%} change: {'none' if value is None else f'{value:.3f}'}, "
            f"{plan.equal_model_passes[guard][share]:.0%}"
            for share, value in regressions.items()
        ]
        lines.append(
            f"{guard}; the smallest regression that 80 % of runs would hold back, and how often a "
            f"model passes that is exactly as good: {'; '.join(found)}"
        )
    return {f"guard{number or ''}": line for number, line in enumerate(lines)}


def show_examples_needed(plan: Plan) -> None:
    """Print how many test rows notice some gains."""
    needed = {gain: found for gain, found in plan.examples_needed.items() if found}
    shares = list(dict.fromkeys(share for found in needed.values() for share in found))
    if not shares:
        return
    print_text("test rows that notice a gain in a share in 80 % of runs:")
    print_table(
        ["gain", *(f"{float(share):.0%} change" for share in shares)],
        [
            [gain, *(f"{found[s]:,}" if found.get(s) else "" for s in shares)]
            for gain, found in needed.items()
        ],
    )


def describe_training(plan: Plan) -> dict[str, str]:
    """Return what a training takes, one line for each subject."""
    training = plan.training
    assert training is not None, "described elsewhere"
    trained, total = plan.num_trainable_parameters, plan.num_parameters
    needed, free = (plan.memory_bytes or 0) / MIB, plan.free_memory_bytes / MIB
    fits = "fits" if plan.fits else "does not fit"
    parts = ", ".join(
        f"{name} {size / MIB:,.1f}" for name, size in training.memory_parts.items() if size
    )
    again, layers = training.num_checkpointed_layers, training.num_layers
    return {
        "weights": f"{trained:,} of {total:,} parameters trained; "
        f"{training.model_bytes / 1e6:,.2f} MB to keep",
        "memory": f"about {needed:,.0f} MiB of {free:,.0f} that are free on {plan.device}: {fits}",
        "": parts,
        "rows": f"{training.rows_per_step} of up to {training.row_tokens:,} tokens a step; "
        f"{again} of {layers} blocks computed again in the backward pass",
        "work": f"{training.tokens:,} tokens, {training.trained_tokens:,} in the loss; "
        f"{training.flops:.3g} floating-point operations, {training.hardware_flops:.3g} executed",
        "time": describe_time(training),
    }


def describe_time(training: PlannedTraining) -> str:
    """Return how long a training takes and what it costs, with what that rests on."""
    if training.hours is None or training.device_flops is None:
        return f"not known: {training.device_flops_source}"
    money = "" if training.money is None else f", which cost {training.money:,.2f}"
    basis = f"{training.device_flops / 1e12:,.3g} TFLOP/s ({training.device_flops_source})"
    return (
        f"{describe_hours(training.hours)} of training on one device{money}, at "
        f"{training.assumed_mfu:.0%} (tracking.assumed_mfu) of {basis}"
    )


def describe_hours(hours: float) -> str:
    """Return a time as a person reads it.

    >>> describe_hours(0.01), describe_hours(3.25)
    ('about 36 s', 'about 3.2 h')
    """
    if hours < 1 / 20:
        return f"about {hours * 3600:,.0f} s"
    return f"about {hours:,.1f} h" if hours >= 1 else f"about {hours * 60:,.0f} min"


def show_changes(plan: Plan) -> None:
    """Print what would make a training fit."""
    assert plan.training is not None, "there is a peak to lower"
    print_text("what would lower the peak; see docs/troubleshooting.md:")
    print_table(
        ["--set", "peak in MiB", "fits", "cost"],
        [
            [
                " ".join(change.settings),
                f"{change.total_bytes / MIB:,.0f}",
                "yes" if change.fits else "no",
                change.cost,
            ]
            for change in plan.training.changes
        ],
    )
