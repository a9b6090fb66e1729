"""Say everything that can be known before training."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from configs.schema import RunConfig
from tasks.format import check_gate, format_version
from tasks.formatting.rows.examples import digest_questions, read_examples
from tasks.records.extras import check_extras
from tasks.records.handles import DataVersion, FormattedData, Record, RowCounts, SplitRecord
from tasks.records.observer import SilentObserver
from tasks.records.writing import read_json
from tasks.training.devices import detect_device, resolve_dtype
from tasks.training.memory import estimate_memory
from tasks.training.plan import plan_training
from tasks.version import pin_inputs
from tasks.versioning.base_models import locate_base

LOG = logging.getLogger("hone")


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
    num_parameters: int
    num_trainable_parameters: int
    memory_bytes: int
    device: str
    device_memory_bytes: int
    fits: bool
    primary_metrics: tuple[str, ...]
    look: int
    """Which look at this test set the next candidate will be."""
    alpha: float
    alpha_left: float
    smallest_detectable_gain: dict[str, float | None]
    """Of a share such as exact match, by the share of rows that change."""
    preview: str
    """Some rows as the model sees them, with the trained tokens marked."""


def plan_run(config: RunConfig) -> Plan:
    """Version and format the data (the run will find both in the cache) and look ahead.

    Raises:
        RequestError: The run would be refused for its data, base model or configuration.
    """
    check_extras(config)
    data = pin_inputs(config.data, config.model)
    formatted = format_version(data, config, SilentObserver())
    check_gate(formatted, config)
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
            **_plan_training(config, data, formatted),
            **_plan_gate(config, formatted),
        }
    )


def _count_reasons(ledger: Path) -> dict[str, int]:
    counts = read_json(ledger)
    return {
        f"{outcome}: {reason}": count
        for outcome in ("invalid", "filtered")
        for reason, count in counts[outcome].items()
    }


def _plan_training(
    config: RunConfig, data: DataVersion, formatted: FormattedData
) -> dict[str, Any]:
    from tasks.training.tokens import open_split

    device = detect_device()
    tokens = open_split(formatted.folder, "train")
    assert tokens is not None, "formatting leaves training rows, or refuses the data"
    steps = plan_training(tokens.lengths, config.training)
    memory = estimate_memory(
        read_json(Path(locate_base(data.base)) / "config.json"),
        config.model,
        config.training,
        dtype=resolve_dtype(config.model.dtype, device),
    )
    return {
        "examples_per_step": steps.examples_per_step,
        "steps": steps.num_steps,
        "steps_per_epoch": steps.steps_per_epoch,
        "num_parameters": memory.num_parameters,
        "num_trainable_parameters": memory.num_trainable_parameters,
        "memory_bytes": memory.total_bytes,
        "device": f"{device.kind}: {device.name}",
        "device_memory_bytes": device.memory_bytes,
        "fits": memory.fits(device.memory_bytes),
    }


def announce_gate(config: RunConfig, formatted: FormattedData) -> None:
    """Log what the gate will be able to notice, before anything is trained."""
    gate = _plan_gate(config, formatted)
    LOG.info(
        "gate: %s decides on test, look %d, alpha %.4f; smallest gain that 80 %% of runs notice, "
        "by the share of answers that change: %s",
        ", ".join(formatted.primary_metrics), gate["look"], gate["alpha"],
        ", ".join(
            f"{share}: {'none' if gain is None else f'{gain:.3f}'}"
            for share, gain in gate["smallest_detectable_gain"].items()
        ),
    )  # fmt: skip


def _plan_gate(config: RunConfig, formatted: FormattedData) -> dict[str, Any]:
    from tasks.evaluation.looks import preview_look
    from tasks.evaluation.power import smallest_detectable

    examples = read_examples(formatted.folder / "examples" / "test.jsonl")
    look = preview_look(config.publish.name, digest_questions(examples), alpha=config.gate.alpha)
    sizes = sorted(Counter(example.group for example in examples).values())
    gains = smallest_detectable(
        sizes, alpha=look.alpha, min_improvement=config.gate.min_improvement
    )
    return {
        "look": look.number,
        "alpha": look.alpha,
        "alpha_left": look.remaining,
        "smallest_detectable_gain": {f"{share:g}": gain for share, gain in gains.items()},
    }
