"""Hours and money of a training, before it is run, and the size of what it makes."""

from __future__ import annotations

from dataclasses import dataclass

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.activations import Computation, count_border_bytes
from tasks.training.devices import Device
from tasks.training.fitting import Examples, FittedTraining
from tasks.training.flops import Work, count_rates
from tasks.training.memory import BYTES, FLOAT32
from tasks.training.peaks import (
    LINK_BYTES_PER_SECOND,
    find_peak_flops,
    measure_matmul_flops,
)
from tasks.training.shapes import Shape, count_lora, count_whole_modules

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class DeviceRate:
    """How fast a device is taken to be.

    Attributes:
        flops: Its peak, in operations a second.
        source: Where that comes from, in words.
    """

    flops: float
    source: str


@dataclass(frozen=True)
class CostEstimate:
    """What a training will take.

    Attributes:
        work: Documents and tokens of all steps.
        model_flops: Operations that it needs.
        hardware_flops: Operations that the device executes.
        hours: On one device, validation not counted; None where its rate is not known.
        money: In the unit of the price; None without a price or hours.
        model_bytes: Size of the adapter's file, or of the model's.
    """

    work: Work
    model_flops: int
    hardware_flops: int
    hours: float | None
    money: float | None
    model_bytes: int


def find_rate(shape: Shape, device: Device, dtype: str, *, row_tokens: int) -> DeviceRate | None:
    """Return how fast a device is: a GPU by its datasheet, a processor by a product on it.

    Args:
        shape: The base model's sizes; the product is that of its largest layer.
        device: Where the training will run.
        dtype: Precision of the matrix products.
        row_tokens: Tokens of a row.
    """
    if device.kind == "cuda":
        peak = find_peak_flops(device.name, dtype)
        return DeviceRate(peak, f"datasheet of the {device.name}") if peak else None
    if device.kind != "cpu":
        return None
    sizes = (row_tokens, shape.hidden, shape.intermediate)
    measured = measure_matmul_flops(sizes, device="cpu", dtype=dtype)
    shown = " x ".join(map(str, sizes))
    return DeviceRate(measured, f"a product of {shown} measured on this processor")


def estimate_costs(
    shape: Shape,
    model: ModelConfig,
    training: TrainingConfig,
    fitted: FittedTraining,
    examples: Examples,
    *,
    dtype: str,
    rate: DeviceRate | None,
    mfu: float,
    device_hour_price: float | None,
) -> CostEstimate:
    """Count a training's operations, and what they take at an assumed utilisation.

    Args:
        shape: The base model's sizes.
        model: Method, rank and targets.
        training: Which tokens pass through the head.
        fitted: The planned rows, and checkpointing.
        examples: What the rows are made of.
        dtype: Precision of the base weights.
        rate: How fast the device is, or None.
        mfu: Share of that rate that the operations which the training needs will reach.
        device_hour_price: Price of an hour of the device, or None.
    """
    work = count_planned_work(fitted, examples)
    rates = count_rates(
        shape,
        model,
        num_checkpointed=fitted.setting.num_checkpointed,
        trained_only=training.trained_logits_only,
    )
    needed, executed = rates.count_model(work), rates.count_hardware(work)
    # Blocks that run again take time that MFU does not count: the device is as busy as without.
    seconds = executed / (rate.flops * mfu) if rate else 0.0
    if training.activation_offloading:
        seconds += count_transfer_seconds(shape, model, work.tokens, BYTES[dtype])
    hours = seconds / SECONDS_PER_HOUR if rate else None
    priced = hours is not None and device_hour_price is not None
    return CostEstimate(
        work=work,
        model_flops=needed,
        hardware_flops=executed,
        hours=hours,
        money=hours * device_hour_price if priced else None,  # type: ignore[operator]
        model_bytes=count_model_bytes(shape, model, dtype),
    )


def count_transfer_seconds(shape: Shape, model: ModelConfig, tokens: int, width: int) -> float:
    """Return how long the inputs of all blocks are on their way to the processor and back.

    Args:
        shape: The base model's sizes.
        model: Its method: trained in full, blocks pass on float32.
        tokens: Of all steps.
        width: Bytes of a number in the matrix products.
    """
    border = count_border_bytes(shape, model, Computation(width))
    return 2 * tokens * shape.num_layers * border / LINK_BYTES_PER_SECOND


def count_planned_work(fitted: FittedTraining, examples: Examples) -> Work:
    """Return the work of all planned rows."""
    indices = [index for row in fitted.plan.rows for index in row]
    lengths, trained = examples.lengths, examples.trained
    return Work(
        tokens=sum(lengths[i] for i in indices),
        trained_tokens=sum(trained[i] for i in indices),
        squared_tokens=sum(lengths[i] ** 2 for i in indices),
    )


def count_model_bytes(shape: Shape, model: ModelConfig, dtype: str) -> int:
    """Return the bytes of the weights that a training writes, without the file's header.

    Adapter matrices are written in float32; whole modules and full models in the base's precision.
    """
    if model.method == "full":
        return shape.num_parameters * BYTES[dtype]
    return count_lora(shape, model) * FLOAT32 + count_whole_modules(shape, model) * BYTES[dtype]
