"""A job in LLaMA-Factory's words: each value where it belongs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.errors import RequestError
from configs.schema import ModelConfig, TrainingConfig
from tasks.records.observer import SilentObserver
from tasks.training.devices import Device
from tasks.training.engines.llamafactory.arguments import build_arguments
from tasks.training.job import TrainingJob, open_splits

from .conftest import ENGINE, MODEL, change


def build(
    formatted: Path,
    model: ModelConfig = MODEL,
    training: TrainingConfig = ENGINE,
    *,
    dtype: str = "float32",
    base: Path | str = Path("/models/tiny"),
    start: Path | None = None,
) -> dict[str, Any]:
    train, validation, plan = open_splits(formatted, training)
    job = TrainingJob(
        formatted=formatted,
        out=Path("/out"),
        base_location=base,
        base_revision="abc",
        config=model,
        training=training,
        device=Device(kind="cpu", name="cpu", memory_bytes=1, has_bfloat16=False),
        dtype=dtype,
        train=train,
        validation=validation,
        plan=plan,
        observer=SilentObserver(),
    )
    arguments = build_arguments(
        job,
        data=Path("/out/llamafactory"),
        tokens=Path("/out/llamafactory/tokens"),
        start=start,
        activation_checkpointing=False,
    )
    assert yaml.safe_load(yaml.safe_dump(arguments)) == arguments
    return arguments


def test_the_plan_is_its_plan(formatted: Path) -> None:
    """42 examples, 2 x 2 a step, 2 epochs: 22 steps; validations and checkpoints once an epoch."""
    found = build(formatted)
    assert found["max_steps"] == 22
    assert found["eval_steps"] == found["save_steps"] == 11
    assert found["warmup_steps"] == 1
    assert (found["per_device_train_batch_size"], found["gradient_accumulation_steps"]) == (2, 2)
    assert found["tokenized_path"] == "/out/llamafactory/tokens"
    assert found["output_dir"] == "/out/checkpoints"
    assert found["early_stopping_steps"] == 3


def test_adapter_is_described(formatted: Path) -> None:
    model = change(
        MODEL, lora_target_modules=("q_proj", "v_proj"), lora_modules_to_save=("norm",),
        use_dora=True, lora_dropout=0.1,
    )  # fmt: skip
    found = build(formatted, model)
    assert found["finetuning_type"] == "lora"
    assert (found["lora_rank"], found["lora_alpha"], found["lora_dropout"]) == (4, 8, 0.1)
    assert (found["lora_target"], found["additional_target"]) == ("q_proj,v_proj", "norm")
    assert (found["use_dora"], found["use_rslora"]) == (True, False)
    assert build(formatted)["lora_target"] == "all"


def test_method_and_precision(formatted: Path) -> None:
    full = build(formatted, change(MODEL, method="full"))
    assert full["finetuning_type"] == "full"
    assert "lora_rank" not in full
    quantized = build(formatted, change(MODEL, method="qlora"), dtype="bfloat16")
    assert (quantized["quantization_bit"], quantized["quantization_type"]) == (4, "nf4")
    assert (quantized["bf16"], quantized["fp16"]) == (True, False)


def test_revision_is_for_the_hub_only(formatted: Path) -> None:
    assert "model_revision" not in build(formatted)
    assert build(formatted, base="org/model")["model_revision"] == "abc"


def test_it_goes_on_from_a_checkpoint(formatted: Path) -> None:
    start = Path("/out/checkpoints/checkpoint-11")
    assert build(formatted, start=start)["resume_from_checkpoint"] == str(start)
    assert build(formatted)["resume_from_checkpoint"] is None


def test_without_validation_nothing_is_validated(formatted: Path) -> None:
    found = build(formatted, training=change(ENGINE, eval_strategy="no"))
    assert found["eval_strategy"] == "no"
    assert found["eval_dataset"] is None
    assert "early_stopping_steps" not in found


def test_checkpoints_are_taken_at_validations(formatted: Path) -> None:
    training = change(ENGINE, eval_steps=2, save_steps=4)
    with pytest.raises(RequestError, match="every 4 steps, validations every 2"):
        build(formatted, training=training)


def test_engine_args_go_in_beside_ours(formatted: Path) -> None:
    args = {"loraplus_lr_ratio": 16.0, "stage": "ppo"}
    found = build(formatted, training=change(ENGINE, engine_args=args, eval_strategy="no"))
    assert (found["loraplus_lr_ratio"], found["stage"]) == (16.0, "ppo")


def test_nobody_publishes_and_nobody_is_told(formatted: Path) -> None:
    found = build(formatted)
    assert found["report_to"] == "none"
    assert found["push_to_hub"] is False
    assert found["trust_remote_code"] is False
