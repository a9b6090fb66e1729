"""The rows, the plan and the initial adapter that all arms of a training benchmark share."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, set_seed

from configs.load import load_config
from configs.schema import DataConfig, ModelConfig, RunConfig, TrainingConfig
from tasks.formatting.build import format_data
from tasks.records.home import find_project
from tasks.records.observer import SilentObserver
from tasks.training.adapters import attach_adapter, detach_adapter
from tasks.training.shared_base import borrow_base
from tasks.training.tokens import TokenSplit, open_split


@dataclass
class StepClock:
    """When each optimiser step ended, and the losses that were logged.

    The time from the end of the first step to the end of the last is compared: imports, loading,
    the first call of every kernel and what comes after the last step are left out in all arms.
    """

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    losses: dict[int, float] = field(default_factory=dict)

    def mark(self) -> None:
        """Note that a step ended."""
        self.wall.append(time.perf_counter())
        self.processor.append(time.process_time())

    def summarize(self) -> dict[str, Any]:
        """Return the steps, their seconds and the logged losses by step."""
        return {
            "steps": len(self.wall),
            "seconds": self.wall[-1] - self.wall[0],
            "processor_seconds": self.processor[-1] - self.processor[0],
            "losses": self.losses,
        }


class ClockObserver(SilentObserver):
    """Hears of hone's own steps and losses."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def report_progress(self, done: int, total: int, unit: str) -> None:  # noqa: ARG002
        """Note that a step ended."""
        if unit == "step":
            self.clock.mark()

    def report_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Note a logged loss."""
        if "loss" in metrics:
            self.clock.losses[step] = metrics["loss"]


class ClockCallback(TrainerCallback):  # type: ignore[misc]
    """Hears of the steps and losses of any other Trainer."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note that a step ended."""
        self.clock.mark()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Note a logged loss."""
        if "loss" in logs:
            self.clock.losses[state.global_step] = logs["loss"]


def read_preset(steps: int) -> RunConfig:
    """Return the `tiny` preset as all arms train it: plain LoRA, one validation-free stretch.

    The embedding, which the preset trains too, is left frozen: the other systems treat a tied one
    differently.
    """
    config = load_config("tiny")
    training = config.training.model_copy(
        update={"max_steps": steps, "eval_strategy": "no", "save_strategy": "best"}
    )
    model = config.model.model_copy(update={"lora_modules_to_save": (), "dtype": "float32"})
    return config.model_copy(update={"training": training, "model": model})


def format_rows(folder: Path, max_length: int) -> Path:
    """Format the example data with hone's format stage; return the folder that it wrote."""
    rows = folder / "source" / "train" / "rows.jsonl"
    rows.parent.mkdir(parents=True)
    shutil.copyfile(find_project() / "data" / "flowroll" / "train.jsonl", rows)
    format_data(
        folder / "source", folder / "formatted",
        data=DataConfig(group_by="group"),
        tokenizer=find_project() / "data" / "tiny-base",
        chat_template=None,
        max_length=max_length,
        assistant_only_loss=True,
        observer=SilentObserver(),
    )  # fmt: skip
    return folder / "formatted"


def open_rows(formatted: Path) -> TokenSplit:
    """Open the training examples of a formatted folder."""
    split = open_split(formatted, "train")
    assert split is not None
    return split


@contextmanager
def open_adapted(
    location: Path | str, model: ModelConfig, training: TrainingConfig, **options: Any
) -> Iterator[Any]:
    """Give the base model with the adapter that hone begins with for this seed.

    Args:
        location: The base model.
        model: Method and adapter.
        training: The seed.
        options: As `borrow_base` takes them: dtype, device, revision.
    """
    set_seed(training.seed)
    with borrow_base(location, model=model, method=model.method, **options) as base:
        net = attach_adapter(base, model)
        yield net
        detach_adapter(net)
