"""What a training would refuse is found without its model's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from configs.schema import ModelConfig, TrainingConfig
from tasks.training.checks import check_training
from tests.tasks.training.conftest import LORA, TRAINING, build_base


def change(config: Any, **fields: Any) -> Any:
    return type(config).model_validate(config.model_dump() | fields)


def check(
    formatted: Path, base: Path, model: ModelConfig, training: TrainingConfig, **more: Any
) -> None:
    check_training(
        formatted=formatted, base_location=base, base_revision="abc", model=model,
        training=training, **more,
    )  # fmt: skip


def test_a_training_that_can_be_done_passes(formatted: Path, base: Path) -> None:
    check(formatted, base, LORA, TRAINING, teacher_location=base)


@pytest.mark.parametrize(
    ("model", "training", "where"),
    [
        ({}, {"optim": "grokadamw"}, "training.optim"),  # its package is not among hone's
        ({}, {"optim": "galore_adamw"}, "training.optim"),
        ({}, {"objective": "dpo"}, "training.objective"),  # there are no pairs
        ({"lora_bias": "all"}, {"objective": "dpo"}, "model.lora_bias"),
        ({}, {"engine": "llamafactory", "packing": False, "fsdp": False, "save_strategy": "best"},
         "training.engine"),
        ({}, {"engine": "llamafactory", "packing": False, "engine_args": {"push_to_hub": True}},
         "training.engine_args"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_named(
    model: dict[str, Any], training: dict[str, Any], where: str, formatted: Path, base: Path
) -> None:
    with pytest.raises(RequestError) as caught:
        check(formatted, base, change(LORA, **model), change(TRAINING, **training))
    assert caught.value.where == where


def test_a_teacher_with_other_tokens_is_named(formatted: Path, base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, LlamaConfig

    small = {"vocab_size": 400, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    teacher = build_base(tmp_path / "teacher", LlamaConfig(**small, num_attention_heads=1))
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    tokenizer.add_tokens(["<another>"])
    tokenizer.save_pretrained(teacher)
    with pytest.raises(RequestError) as caught:
        check(formatted, base, LORA, TRAINING, teacher_location=teacher)
    assert caught.value.where == "training.teacher"
