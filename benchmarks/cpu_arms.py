"""The arms of `cpu.py`: one training each, on the same examples in the same order."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, PrinterCallback, Trainer, TrainingArguments

from benchmarks.training_rows import ClockCallback, ClockObserver, StepClock, open_adapted
from configs.schema import ModelConfig, TrainingConfig
from tasks.records.home import find_project
from tasks.training.adapters import write_adapter
from tasks.training.collator import IGNORE_INDEX
from tasks.training.devices import detect_device
from tasks.training.engines.llamafactory.arguments import build_arguments
from tasks.training.engines.llamafactory.data import write_tokens
from tasks.training.job import TrainingJob
from tasks.training.plan import TrainingPlan
from tasks.training.tokens import TokenSplit
from tasks.training.train import train_model

PADDED_LENGTH = 512
CHILD = Path(__file__).with_name("cpu_llamafactory.py")
TRL_TUNED: dict[str, Any] = {
    "gradient_checkpointing": False,
    "padding_free": True,
    "max_length": None,
}


@dataclass(frozen=True)
class Task:
    """What every arm trains.

    Attributes:
        formatted: The folder that formatting wrote.
        base: The base model.
        model: Method and adapter.
        training: The optimisation.
        split: The training examples.
        plan: hone's steps, which say what the others are given, and in which order.
        out: An empty folder of its own for each training.
    """

    formatted: Path
    base: Path
    model: ModelConfig
    training: TrainingConfig
    split: TokenSplit
    plan: TrainingPlan
    out: Path

    @property
    def rows(self) -> Dataset:
        """The examples of all steps, in order."""
        steps = range(1, self.plan.num_steps + 1)
        found = [self.plan.find_examples(step) for step in steps]
        assert {len(step) for step in found} == {self.plan.examples_per_step}, "a step is short"
        order = [index for step in found for index in step]
        return self.split.dataset.select(order).select_columns(["input_ids", "labels"])

    @property
    def same(self) -> dict[str, Any]:
        """What the arguments of every Trainer have in common with hone's."""
        names = (
            "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
            "lr_scheduler_type", "optim", "weight_decay", "adam_beta1", "adam_beta2",
            "adam_epsilon", "max_grad_norm", "logging_steps", "seed",
        )  # fmt: skip
        return {name: getattr(self.training, name) for name in names} | {
            "output_dir": str(self.out),
            "max_steps": self.plan.num_steps,
            "warmup_steps": self.plan.warmup_steps,
            "train_sampling_strategy": "sequential",
            "save_strategy": "no",
            "use_cpu": True,
            "bf16": False,  # TRL's default on every machine; no processor gains by it here
            "disable_tqdm": True,
            "report_to": "none",
        }


def train_native(task: Task) -> dict[str, Any]:
    """Train with hone, as `hone run` does."""
    clock = StepClock()
    train_model(
        formatted=task.formatted,
        base_location=task.base,
        out=task.out,
        model=task.model,
        training=task.training,
        observer=ClockObserver(clock),
    )
    return clock.summarize()


def train_with_trl(task: Task, **settings: Any) -> dict[str, Any]:
    """Train with TRL's SFTTrainer.

    Args:
        task: What to train.
        settings: What is set besides what all have in common.
    """
    from trl import SFTConfig, SFTTrainer

    clock = StepClock()
    with open_adapted(task.base, task.model, task.training, dtype="float32", device="cpu") as net:
        trainer = SFTTrainer(
            net,
            SFTConfig(**task.same, **settings),
            train_dataset=task.rows,
            processing_class=AutoTokenizer.from_pretrained(task.formatted / "tokenizer"),
            callbacks=[ClockCallback(clock)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.summarize()


def train_padded(task: Task) -> dict[str, Any]:
    """Train as tutorials do: every example filled up to one length, with transformers' Trainer."""
    pad = AutoTokenizer.from_pretrained(task.formatted / "tokenizer").pad_token_id
    clock = StepClock()
    with open_adapted(task.base, task.model, task.training, dtype="float32", device="cpu") as net:
        trainer = Trainer(
            net,
            TrainingArguments(**task.same),
            train_dataset=task.rows.map(functools.partial(_pad_example, pad)),
            callbacks=[ClockCallback(clock)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.summarize()


def _pad_example(pad: int, example: dict[str, list[int]]) -> dict[str, list[int]]:
    missing = PADDED_LENGTH - len(example["input_ids"])
    return {
        "input_ids": example["input_ids"] + [pad] * missing,
        "attention_mask": [1] * len(example["input_ids"]) + [0] * missing,
        "labels": example["labels"] + [IGNORE_INDEX] * missing,
    }


def train_with_llamafactory(task: Task, python: Path) -> dict[str, Any]:
    """Train with LLaMA-Factory, in its own process and environment, from the same adapter.

    Args:
        task: What to train.
        python: Of its environment.
    """
    task.out.mkdir(parents=True, exist_ok=True)
    settings, tokens = task.out / "settings.json", task.out / "tokens"
    with open_adapted(task.base, task.model, task.training, dtype="float32", device="cpu") as net:
        write_adapter(net, task.out / "adapter", name=str(task.base), revision=None)
    split = TokenSplit("train", task.rows.flatten_indices())
    write_tokens((split,), tokens, only_prompts=False)
    arguments = build_arguments(
        _describe_job(task),
        data=task.out,
        tokens=tokens,
        start=None,
        activation_checkpointing=False,
    )
    arguments |= {
        "adapter_name_or_path": str(task.out / "adapter"),
        "disable_shuffling": True,
        "save_strategy": "no",
    }
    (task.out / "dataset_info.json").write_text("{}", encoding="utf-8")
    settings.write_text(json.dumps(arguments), encoding="utf-8")
    done = subprocess.run(
        [str(python), "-I", str(CHILD), str(settings), str(task.out / "clock.json")],
        cwd=task.out,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    found: dict[str, Any] = json.loads((task.out / "clock.json").read_text(encoding="utf-8"))
    return found | {"losses": {int(step): loss for step, loss in found["losses"].items()}}


def _describe_job(task: Task) -> TrainingJob:
    from tasks.records.observer import SilentObserver

    return TrainingJob(
        formatted=task.formatted,
        out=task.out,
        base_location=task.base,
        base_revision=None,
        config=task.model,
        training=task.training,
        device=detect_device(),
        dtype="float32",
        train=task.split,
        validation=None,
        plan=task.plan,
        observer=SilentObserver(),
    )


def list_arms(python: Path | None) -> dict[str, Callable[[Task], dict[str, Any]]]:
    """Return the arms by name; that of LLaMA-Factory only where its environment is there."""
    arms: dict[str, Callable[[Task], dict[str, Any]]] = {
        "native": train_native,
        "trl": train_with_trl,
        "trl_tuned": functools.partial(train_with_trl, **TRL_TUNED),
        "pad_512": train_padded,
    }
    if python:
        arms["llamafactory"] = functools.partial(train_with_llamafactory, python=python)
    return arms


def run_arm(arm: Callable[[Task], dict[str, Any]], task: Task) -> dict[str, Any]:
    """Run one training from nothing, on one thread."""
    assert torch.get_num_threads() == 1, "set OMP_NUM_THREADS=1"
    shutil.rmtree(task.out, ignore_errors=True)
    return arm(task)


BASE = find_project() / "data" / "tiny-base"
