"""What the arms of `gpu.py` share: the base, the clock, and how figures are taken from it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from benchmarks.gpu_setting import LOCATION, Documents, Setting, build_base, quantize_base
from configs.schema import ModelConfig
from tasks.formatting.rendering.renderer import Renderer
from tasks.records.observer import SilentObserver
from tasks.training.shared_base import lend_base, release_base


class ArmCutError(Exception):
    """The time of an arm is over; the steps so far are its figures."""


@dataclass
class Clock(SilentObserver):
    """Ends of steps, with the device waited for only where the timed ones begin and end.

    Attributes:
        setting: How many steps are warm-up, and how long the timed ones may take.
        ends: When the warm-up and the last timed step had ended, by step.
    """

    setting: Setting
    ends: dict[int, float] = field(default_factory=dict)

    def report_progress(self, done: int, total: int, unit: str) -> None:
        """Note the end of a step; cut the arm when its time is over.

        Raises:
            ArmCutError: After the first step that ends too late.
        """
        if unit != "step" or done < self.setting.warmup_steps:
            return
        begin = self.ends.get(self.setting.warmup_steps)
        is_over = begin is not None and time.perf_counter() - begin > self.setting.arm_seconds
        if is_over or done in {self.setting.warmup_steps, total}:
            self.ends[done] = wait_for_device(self.setting)
        if is_over and done < total:
            raise ArmCutError

    @property
    def timed(self) -> tuple[int, int, float]:
        """The last warm-up step, the last timed step, and the seconds between their ends."""
        first, last = min(self.ends), max(self.ends)
        return first, last, self.ends[last] - self.ends[first]


class ClockCallback(TrainerCallback):  # type: ignore[misc]
    """Hears of the steps of any other Trainer."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Note the end of a step."""
        self.clock.report_progress(state.global_step, state.max_steps, "step")


@dataclass
class CountedCollator:
    """A collator that counts the tokens of the micro-batches that it makes, in order."""

    collate: Callable[[list[Any]], Any]
    real: list[int] = field(default_factory=list)
    padded: list[int] = field(default_factory=list)

    def __call__(self, examples: list[Any]) -> Any:
        """Make a micro-batch."""
        batch = self.collate(examples)
        self.padded.append(batch["input_ids"].numel())
        mask = batch.get("attention_mask")
        self.real.append(self.padded[-1] if mask is None else int(mask.sum()))
        return batch


@dataclass(frozen=True)
class Bench:
    """What all arms share.

    Attributes:
        setting: What is measured.
        documents: What is trained on.
        formatted: Where they lie.
        renderer: Knows the end tokens.
        folder: For what trainings write.
    """

    setting: Setting
    documents: Documents
    formatted: Path
    renderer: Renderer
    folder: Path

    def options(self) -> dict[str, str]:
        """How the base is asked for."""
        return {"dtype": self.setting.dtype, "device": self.setting.device.kind}

    def lend(self, model: ModelConfig) -> None:
        """Have the base ready where hone looks for it, random and on the device."""
        base = build_base(self.setting)
        if model.method == "qlora":
            base = quantize_base(base, self.setting, model)
        lend_base(base, LOCATION, method=model.method, model=model, **self.options())


def wait_for_device(setting: Setting) -> float:
    """Return the time at which the device has done what it was given."""
    if setting.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def summarize(bench: Bench, clock: Clock, real: int, padded: int) -> dict[str, Any]:
    """Return the figures of an arm from the tokens of its timed steps."""
    first, last, seconds = clock.timed
    found: dict[str, Any] = {
        "timed_steps": last - first,
        "seconds_per_step": seconds / (last - first),
        "tokens_per_second": real / seconds,
        "padded_tokens_per_second": padded / seconds,
    }
    if bench.setting.is_cuda:
        found["peak_bytes"] = torch.cuda.max_memory_allocated()
    return found


def free_memory(setting: Setting) -> None:
    """Give back what the last arm left, its base too."""
    release_base()
    reset_memory(setting)


def reset_memory(setting: Setting) -> None:
    """Give back what nothing refers to, and begin a new peak."""
    gc.collect()
    if setting.is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
