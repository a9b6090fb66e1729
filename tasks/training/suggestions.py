"""What would make a training fit that does not, each change with the peak that it would have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.activations import Computation, count_border_bytes
from tasks.training.fitting import Examples, choose_setting
from tasks.training.memory import MemoryPlan, predict_memory
from tasks.training.optimizers import find_optimizer_cost
from tasks.training.peaks import LINK_BYTES_PER_SECOND
from tasks.training.shapes import Shape, count_trainable

SHORTEST_LENGTH = 128
SMALLEST_RANK = 8
PAGED = "paged_adamw_32bit"


@dataclass(frozen=True)
class Change:
    """A change that lowers the peak.

    Attributes:
        settings: The keys to set and their values, as after `--set`.
        total_bytes: The predicted peak with it.
        fits: Whether that fits.
        cost: What it costs.
    """

    settings: tuple[str, ...]
    total_bytes: int
    fits: bool
    cost: str


def suggest_changes(
    shape: Shape,
    model: ModelConfig,
    training: TrainingConfig,
    how: Computation,
    examples: Examples,
    memory_bytes: int,
) -> tuple[Change, ...]:
    """Return what would lower the peak of a training that does not fit, each with its price.

    Changes that give something up come one by one, then all of them together, then what goes to
    the processor's memory.

    Args:
        shape: The base model's sizes.
        model: Method, rank and targets.
        training: The optimisation.
        how: Precision, device and attention.
        examples: What the rows are made of.
        memory_bytes: Memory that is free on the device.
    """

    def predict(model: ModelConfig, training: TrainingConfig) -> MemoryPlan:
        setting = choose_setting(shape, model, training, how, examples, memory_bytes)
        return predict_memory(shape, model, training, examples.bound_load(setting, training), how)

    before = predict(model, training).total_bytes
    steps = _list_changes(model, training, how, examples)
    found = []
    for settings, apply, cost in steps:
        plan = predict(*apply(model, training))
        if plan.total_bytes < before:
            found.append(Change(settings, plan.total_bytes, plan.fits(memory_bytes), cost))
    if not any(change.fits for change in found) and len(found) > 1:
        found.append(_combine(found, steps, model, training, predict, memory_bytes))
    if how.is_cuda and _can_offload(training):
        offloading = training.model_copy(update={"activation_offloading": True})
        offloaded = predict(model, offloading)
        if offloaded.total_bytes < before:
            settings = ("training.activation_offloading=true",)
            cost = _price_offloading(shape, model, how)
            fits = offloaded.fits(memory_bytes)
            found.append(Change(settings, offloaded.total_bytes, fits, cost))
    if how.is_cuda and not find_optimizer_cost(training.optim).is_paged:
        paged = predict(model, training.model_copy(update={"optim": PAGED}))
        cost = _price_paging(count_trainable(shape, model))
        settings = (f"training.optim={PAGED}",)
        found.append(Change(settings, paged.total_bytes, paged.fits(memory_bytes), cost))
    return tuple(found)


Apply = Callable[[ModelConfig, TrainingConfig], tuple[ModelConfig, TrainingConfig]]
Step = tuple[tuple[str, ...], Apply, str]


def _list_changes(
    model: ModelConfig, training: TrainingConfig, how: Computation, examples: Examples
) -> list[Step]:
    """Return the changes that are possible, the cheapest first."""
    steps: list[Step] = []

    def change_model(key: str, value: object, cost: str) -> None:
        steps.append(
            ((f"model.{key}={value}",), lambda m, t: (m.model_copy(update={key: value}), t), cost)
        )

    def change_training(key: str, value: object, cost: str) -> None:
        steps.append((
            (f"training.{key}={value}",),
            lambda m, t: (m, t.model_copy(update={key: value})),
            cost,
        ))  # fmt: skip

    if training.gradient_checkpointing == "off":
        change_training("gradient_checkpointing", "auto", "blocks are computed twice")
    if model.method == "full" and how.is_cuda:
        change_training("optim", "adamw_8bit", "moments are rounded to 8 bits")
    if model.method == "full":
        change_model("method", "lora", "an adapter is trained instead of all weights")
    if model.method == "lora":
        change_model("method", "qlora", "the base is rounded to 4 bits")
    if model.method != "full" and model.lora_r > SMALLEST_RANK:
        change_model("lora_r", SMALLEST_RANK, "the adapter can express less")
    half = training.max_length // 2
    if half >= SHORTEST_LENGTH:
        longer = sum(length > half for length in examples.lengths)
        change_training(
            "max_length", half, f"{longer} of {len(examples.lengths)} examples are longer"
        )
    return steps


def _combine(
    found: Sequence[Change],
    steps: Sequence[Step],
    model: ModelConfig,
    training: TrainingConfig,
    predict: Callable[[ModelConfig, TrainingConfig], MemoryPlan],
    memory_bytes: int,
) -> Change:
    """Return the changes that help, added up until they fit."""
    settings: tuple[str, ...] = ()
    costs: list[str] = []
    helpful = {change.settings for change in found}
    plan = None
    for names, apply, cost in steps:
        if names not in helpful:
            continue
        model, training = apply(model, training)
        settings, costs = (*settings, *names), [*costs, cost]
        plan = predict(model, training)
        if plan.fits(memory_bytes):
            break
    assert plan is not None, "there are changes that help"
    return Change(settings, plan.total_bytes, plan.fits(memory_bytes), "; ".join(costs))


def _can_offload(training: TrainingConfig) -> bool:
    """Return whether the inputs of blocks may go to the processor and do not yet."""
    is_free = training.gradient_checkpointing != "off" and not training.torch_compile
    return is_free and not training.activation_offloading


def _price_offloading(shape: Shape, model: ModelConfig, how: Computation) -> str:
    """Return what it costs to keep the inputs of all blocks in the processor's memory."""
    kept_bytes = 1000 * shape.num_layers * count_border_bytes(shape, model, how)
    seconds = 2 * kept_bytes / LINK_BYTES_PER_SECOND
    return (
        f"all blocks are computed twice, and of 1,000 tokens {kept_bytes / 1e9:.2f} GB go through "
        f"PCIe twice, {seconds:.2g} s at {LINK_BYTES_PER_SECOND / 1e9:.0f} GB/s"
    )


def _price_paging(trainable: int) -> str:
    """Return what it costs to keep an optimiser's state in the processor's memory."""
    state_bytes = find_optimizer_cost(PAGED).state_bytes * trainable
    seconds = 2 * state_bytes / LINK_BYTES_PER_SECOND
    return (
        f"{state_bytes / 1e9:.2f} GB of its state go through PCIe twice an optimiser step, "
        f"{seconds:.2g} s at {LINK_BYTES_PER_SECOND / 1e9:.0f} GB/s"
    )
