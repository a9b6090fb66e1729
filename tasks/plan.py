"""Say everything that can be known before training."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.errors import RequestError
from configs.schema import RunConfig
from tasks.evaluate import NOT_EVALUATED, check_scoring, check_slicing
from tasks.foresee import plan_gate
from tasks.format import check_gate, check_objective, format_version
from tasks.records.extras import check_extras
from tasks.records.handles import DataVersion, FormattedData, Record, RowCounts, SplitRecord
from tasks.records.observer import SilentObserver
from tasks.records.writing import read_json
from tasks.training.costs import estimate_costs, find_rate
from tasks.training.devices import Device, detect_device, find_free_memory, resolve_dtype
from tasks.training.fitting import Examples, choose_computation, fit_training
from tasks.training.plan import plan_training
from tasks.training.shapes import Shape, read_shape
from tasks.training.suggestions import suggest_changes
from tasks.version import pin_inputs
from tasks.versioning.base_models import locate_base

LOG = logging.getLogger("hone")


class PlannedChange(Record):
    """A change that lowers the peak of a training that does not fit."""

    settings: tuple[str, ...]
    """As after `--set`."""
    total_bytes: int
    """The predicted peak with it."""
    fits: bool
    cost: str


class PlannedTraining(Record):
    """What a training takes: memory, operations, time and money."""

    model_bytes: int
    """Size of the adapter, or of the model trained in full."""
    memory_parts: dict[str, int]
    """Bytes of each part of the predicted peak."""
    row_tokens: int
    """Most tokens of a packed row."""
    rows_per_step: int
    """Rows that an optimiser step is accumulated over."""
    num_layers: int
    num_checkpointed_layers: int
    """Blocks that are computed again in the backward pass."""
    changes: tuple[PlannedChange, ...]
    """What would lower the peak, where it does not fit."""
    tokens: int
    """Of all steps."""
    trained_tokens: int
    flops: int
    """Operations that the training needs, which MFU counts."""
    hardware_flops: int
    """Operations that the device executes."""
    device_flops: float | None
    """The device's peak in operations a second; None where it is not known."""
    device_flops_source: str
    assumed_mfu: float
    hours: float | None
    """Of the training alone, on one device."""
    money: float | None


class Plan(Record):
    """What a run will do, before it does it."""

    data_commit: str
    base: str
    base_revision: str
    rows: RowCounts
    reasons: dict[str, int]
    """Rows that were not kept or were cut, by reason."""
    splits: dict[str, SplitRecord]
    examples_per_step: int
    """The effective batch, in examples."""
    steps: int
    steps_per_epoch: int
    device: str
    device_memory_bytes: int
    free_memory_bytes: int
    num_parameters: int | None
    num_trainable_parameters: int | None
    memory_bytes: int | None
    """The predicted peak on the device."""
    fits: bool | None
    """Whether the peak is at most nine tenths of what is free."""
    training: PlannedTraining | None
    """What else it takes. This and the four above are None where config.json does not tell."""
    training_unknown: str
    """Why they are None, or nothing."""
    primary_metrics: tuple[str, ...]
    look: int
    """Which look at this test set the next candidate will be."""
    alpha: float
    alpha_left: float
    smallest_detectable_gain: dict[str, float | None]
    """Of a share such as exact match, by the share of rows that change."""
    smallest_detectable_nll_gain: dict[str, float | None]
    """Of NLL where it decides, by the standard deviation of a group's change; nats a token."""
    smallest_detectable_regression: dict[str, dict[str, float | None]]
    """By guard, by the share of rows that change: what it holds back in 80 % of runs."""
    equal_model_passes: dict[str, dict[str, float]]
    """By guard, by the share of rows that change: how often an equally good model passes."""
    examples_needed: dict[str, dict[str, int | None]]
    """Test rows that notice a gain in a share, by the gain, then by the share that changes."""
    preview: str
    """Some rows as the model sees them, with the trained tokens marked."""


def plan_run(config: RunConfig) -> Plan:
    """Version and format the data (the run will find both in the cache) and look ahead.

    Raises:
        RequestError: The run would be refused for its data, base model or configuration.
    """
    check_extras(config)
    check_scoring(config)
    data = pin_inputs(config.data, config.model)
    formatted = format_version(data, config, SilentObserver())
    check_gate(formatted, config)
    check_slicing(formatted, config, [s for s in formatted.splits if s not in NOT_EVALUATED])
    check_objective(formatted, config)
    return Plan.model_validate(
        {
            "data_commit": data.commit,
            "base": data.base.name,
            "base_revision": data.base.revision,
            "rows": formatted.rows,
            "reasons": _count_reasons(formatted.folder / "ledger.json"),
            "splits": formatted.splits,
            "primary_metrics": formatted.primary_metrics,
            "preview": (formatted.folder / "preview.md").read_text(encoding="utf-8"),
            **plan_resources(config, data, formatted),
            **plan_gate(config, formatted),
        }
    )


def _count_reasons(ledger: Path) -> dict[str, int]:
    counts = read_json(ledger)
    return {
        f"{outcome}: {reason}": count
        for outcome in ("invalid", "filtered")
        for reason, count in counts[outcome].items()
    }


def plan_resources(
    config: RunConfig, data: DataVersion, formatted: FormattedData
) -> dict[str, Any]:
    """Return the fields of a plan that say what the training takes, by name."""
    from tasks.training.tokens import open_split

    device = detect_device()
    tokens = open_split(formatted.folder, "train")
    assert tokens is not None, "formatting leaves training rows, or refuses the data"
    examples = Examples(tokens.lengths, tokens.count_trained().tolist())
    free = find_free_memory(device)
    steps = plan_training(tokens.lengths, config.training)
    planned: dict[str, Any] = dict.fromkeys(
        ("num_parameters", "num_trainable_parameters", "memory_bytes", "fits", "training")
    )
    unknown = ""
    try:
        shape = read_shape(read_json(Path(locate_base(data.base)) / "config.json"))
        planned = _plan_resources(config, shape, examples, device, free)
    except RequestError as err:
        unknown = str(err)
    return {
        "examples_per_step": steps.examples_per_step,
        "steps": steps.num_steps,
        "steps_per_epoch": steps.steps_per_epoch,
        "device": f"{device.kind}: {device.name}",
        "device_memory_bytes": device.memory_bytes,
        "free_memory_bytes": free,
        "training_unknown": unknown,
        **planned,
    }


def _plan_resources(
    config: RunConfig, shape: Shape, examples: Examples, device: Device, free_bytes: int
) -> dict[str, Any]:
    model, training, tracking = config.model, config.training, config.tracking
    dtype = resolve_dtype(model.dtype, device)
    how = choose_computation(model, training, device=device.kind, dtype=dtype)
    fitted = fit_training(shape, model, training, how, examples, free_bytes)
    memory, setting = fitted.memory, fitted.setting
    fits = memory.fits(free_bytes)
    asked = (shape, model, training, how, examples, free_bytes)
    changes = () if fits else suggest_changes(*asked)
    rate = find_rate(shape, device, dtype, row_tokens=setting.row_tokens)
    costs = estimate_costs(
        shape, model, training, fitted, examples, dtype=dtype, rate=rate,
        mfu=tracking.assumed_mfu, device_hour_price=tracking.device_hour_price,
    )  # fmt: skip
    return {
        "num_parameters": memory.num_parameters,
        "num_trainable_parameters": memory.num_trainable_parameters,
        "memory_bytes": memory.total_bytes,
        "fits": fits,
        "training": {
            "memory_parts": memory.parts,
            "row_tokens": setting.row_tokens,
            "rows_per_step": fitted.plan.rows_per_step,
            "num_layers": shape.num_layers,
            "num_checkpointed_layers": setting.num_checkpointed,
            "changes": [asdict(change) for change in changes],
            "tokens": costs.work.tokens,
            "trained_tokens": costs.work.trained_tokens,
            "flops": costs.model_flops,
            "hardware_flops": costs.hardware_flops,
            "device_flops": rate.flops if rate else None,
            "device_flops_source": rate.source if rate else "its peak is not known",
            "assumed_mfu": tracking.assumed_mfu,
            "hours": costs.hours,
            "money": costs.money,
            "model_bytes": costs.model_bytes,
        },
    }
