"""The arms of `gpu.py`: a few timed optimiser steps of one way to train, or to generate."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable
from typing import Any

import torch
from datasets import load_from_disk
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from benchmarks.gpu_bench import (
    ArmCutError,
    Bench,
    Clock,
    ClockCallback,
    CountedCollator,
    free_memory,
    reset_memory,
    summarize,
    wait_for_device,
)
from benchmarks.gpu_setting import LOCATION, Setting
from benchmarks.training_rows import open_adapted
from configs.schema import ModelConfig, TrainingConfig
from tasks.evaluation.generation import generate_answers
from tasks.records.observer import SilentObserver
from tasks.records.writing import read_json
from tasks.training.constant_rows import find_longest_row
from tasks.training.fitting import Examples, choose_computation
from tasks.training.memory import predict_memory
from tasks.training.plan import TrainingPlan, plan_training
from tasks.training.setting import FILE
from tasks.training.shared_base import borrow_base
from tasks.training.train import train_model


def train_native(
    bench: Bench, *, model: dict[str, Any] | None = None, **training: Any
) -> dict[str, Any]:
    """Train with hone as `hone run` does, one lever changed.

    Args:
        bench: What all arms share.
        model: Fields of the model's configuration that differ.
        training: Fields of the training's configuration that differ.
    """
    setting = bench.setting
    config = setting.model.model_copy(update=model or {})
    changed = TrainingConfig(**(setting.training.model_dump() | training))
    clock, out = Clock(setting), bench.folder / "native"
    shutil.rmtree(out, ignore_errors=True)
    with contextlib.suppress(ArmCutError):
        train_model(
            formatted=bench.formatted,
            base_location=LOCATION,
            out=out,
            model=config,
            training=changed,
            observer=clock,
            device=setting.device,
        )
    budget = read_json(out / FILE)["row_tokens"]
    plan = plan_training(bench.documents.lengths, changed, row_tokens=budget)
    first, last, _ = clock.timed
    rows = plan.rows[first * plan.rows_per_step : last * plan.rows_per_step]
    real = [sum(bench.documents.lengths[i] for i in row) for row in rows]
    full = find_longest_row(bench.documents.lengths, plan) if changed.torch_compile else 0
    padded = sum(max(full, count) for count in real)
    return summarize(bench, clock, sum(real), padded) | {
        "predicted_bytes": predict_peak(bench, config, changed, plan)
    }


def predict_peak(
    bench: Bench, model: ModelConfig, training: TrainingConfig, plan: TrainingPlan
) -> int:
    """Return the peak that hone's memory plan predicts for the rows of a plan."""
    setting, documents = bench.setting, bench.documents
    trained = [n - p for n, p in zip(documents.lengths, documents.num_prompts, strict=True)]
    how = choose_computation(model, training, device=setting.device.kind, dtype=setting.dtype)
    layers = setting.sizes.num_layers if training.gradient_checkpointing == "on" else 0
    load = Examples(documents.lengths, trained).measure_load(plan, layers)
    return predict_memory(setting.sizes, model, training, load, how).total_bytes


def train_with_trainer(
    bench: Bench, *, batch_size: int, trainer: str = "transformers", **arguments: Any
) -> dict[str, Any]:
    """Train with transformers' Trainer or TRL's SFTTrainer, padded unless it is told otherwise.

    Args:
        bench: What all arms share.
        batch_size: Examples, or packed rows, of a micro-batch.
        trainer: `transformers` or `trl`.
        arguments: Of the Trainer, besides what all arms have in common.
    """
    setting, clock = bench.setting, Clock(bench.setting)
    common: dict[str, Any] = {
        "output_dir": str(bench.folder / "trainer"),
        "max_steps": setting.warmup_steps + setting.steps,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": setting.examples_per_step // batch_size,
        "bf16": setting.dtype == "bfloat16",
        "use_cpu": not setting.is_cuda,
        "optim": setting.training.optim,
        "learning_rate": setting.training.learning_rate,
        "logging_steps": 1000,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    } | arguments
    rows = load_from_disk(str(bench.formatted / "tokens" / "train"))
    rows = rows.select_columns(["input_ids", "labels"])
    tokenizer = AutoTokenizer.from_pretrained(bench.formatted / "tokenizer")
    with open_adapted(LOCATION, setting.model, setting.training, **bench.options()) as net:
        made = _make_trainer(trainer, net, common, rows, tokenizer, ClockCallback(clock))
        made.data_collator = counted = CountedCollator(made.data_collator)
        try:
            made.train()
        except ArmCutError:
            del made  # with what the optimiser holds
    first, last, _ = clock.timed
    accumulation = common["gradient_accumulation_steps"]
    timed = slice(first * accumulation, last * accumulation)
    return summarize(bench, clock, sum(counted.real[timed]), sum(counted.padded[timed]))


def _make_trainer(
    kind: str, net: Any, common: dict[str, Any], rows: Any, tokenizer: Any, callback: Any
) -> Any:
    if kind == "trl":
        from trl import SFTConfig, SFTTrainer

        made = SFTTrainer(
            net, SFTConfig(**common), train_dataset=rows, processing_class=tokenizer,
            callbacks=[callback],
        )  # fmt: skip
    else:
        if common.get("gradient_checkpointing"):
            net.enable_input_require_grads()
        made = Trainer(
            net, TrainingArguments(**common), train_dataset=rows, callbacks=[callback],
            data_collator=DataCollatorForSeq2Seq(tokenizer),
        )  # fmt: skip
    made.remove_callback(PrinterCallback)
    return made


def generate(bench: Bench, *, batch_size: int) -> dict[str, Any]:
    """Answer prompts of equal length with hone's generation; prompts count in the time."""
    setting = bench.setting
    length = setting.median_length
    prompts = [(tokens * length)[:length] for tokens in bench.documents.tokens[:batch_size]]
    prompts = (prompts * batch_size)[:batch_size]
    with borrow_base(
        LOCATION, method=setting.model.method, model=setting.model, **bench.options()
    ) as base:

        def answer(new_tokens: int) -> tuple[int, float]:
            begin = wait_for_device(setting)
            found = generate_answers(
                base, bench.renderer, prompts,
                max_new_tokens=new_tokens, batch_size=batch_size, observer=SilentObserver(),
            )  # fmt: skip
            count = sum(len(one.token_ids) for one in found)
            return count, wait_for_device(setting) - begin

        answer(1)
        first, first_seconds = answer(1)  # the prompts alone
        count, seconds = answer(setting.new_tokens)
    return {
        "new_tokens": count,
        "seconds": seconds,
        "new_tokens_per_second": count / seconds,
        "decode_tokens_per_second": (count - first) / max(seconds - first_seconds, 1e-9),
    }


def run_arm(bench: Bench, arm: Callable[[Bench], dict[str, Any]], model: ModelConfig) -> Any:
    """Run one arm from a clean device, whatever the last one left.

    Args:
        bench: What all arms share.
        arm: One of the functions above, its keywords bound.
        model: What kind of base it trains.
    """
    free_memory(bench.setting)
    try:
        bench.lend(model)
        reset_memory(bench.setting)
        return arm(bench)
    except torch.OutOfMemoryError:
        return {"error": "out of memory"}
    except Exception as err:  # noqa: BLE001 - it must not take the others' figures with it
        return {"error": f"{type(err).__name__}: {err}"}


def list_arms(setting: Setting) -> dict[str, Callable[[Bench], dict[str, Any]]]:
    """Return the arms by name, the most telling first: the last ones may find no time."""
    native, other = train_native, train_with_trainer
    mean = 1.44 * setting.median_length  # of the log-normal, cut off
    rows_per_step = max(1, round(setting.examples_per_step * mean / setting.row_tokens))
    return {
        "native": native,
        "trl_packed": functools.partial(
            other, trainer="trl", batch_size=1, packing=True, max_length=setting.row_tokens,
            gradient_checkpointing=False, gradient_accumulation_steps=rows_per_step,
        ),
        "trl": functools.partial(
            other, trainer="trl", batch_size=setting.padded_batch, max_length=setting.row_tokens
        ),
        "padded": functools.partial(
            other, batch_size=setting.padded_batch, gradient_checkpointing=True
        ),
        "padded_tuned": functools.partial(
            other, batch_size=setting.tuned_batch, train_sampling_strategy="group_by_length"
        ),
        "native_compiled": functools.partial(
            native, torch_compile=True, torch_compile_backend=setting.backend
        ),
        **{
            f"decode_{size}": functools.partial(generate, batch_size=size)
            for size in setting.decode_batches
        },
        "qlora": functools.partial(native, model={"method": "qlora"}),
        "checkpointing": functools.partial(native, gradient_checkpointing="on"),
        "no_packing": functools.partial(native, packing=False),
        "no_varlen": functools.partial(native, model={"attn_implementation": "sdpa"}),
        "all_logits": functools.partial(native, trained_logits_only=False),
        "whole_loss": functools.partial(native, chunked_loss=False),
        "cast_inputs": functools.partial(native, cast_adapter_inputs=True),
    }  # fmt: skip
