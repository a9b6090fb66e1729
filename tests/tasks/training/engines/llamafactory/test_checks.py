"""What LLaMA-Factory cannot honour is refused by its key, all at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from configs.errors import RequestError
from configs.schema import TrainingConfig
from tasks.training.engines.llamafactory.checks import (
    check_base,
    check_engine_args,
    check_request,
)

from .conftest import ENGINE, MODEL, change

OURS = frozenset({"learning_rate", "stage", "finetuning_type", "tokenized_path", "lora_rank"})


def check_args(**args: Any) -> dict[str, Any]:
    model = change(MODEL, method="full") if args.get("finetuning_type") == "freeze" else MODEL
    training = change(ENGINE, engine_args=args, eval_strategy="no")
    return check_engine_args(model, training, OURS)


def make_base(*, is_tied: bool = False, dtype: str | None = None) -> Any:
    text = SimpleNamespace(tie_word_embeddings=is_tied, dtype=dtype)
    return SimpleNamespace(get_text_config=lambda: text)


def test_every_key_that_it_cannot_honour_is_named() -> None:
    model = change(MODEL, attn_implementation="varlen", lora_bias="all")
    training = change(ENGINE, early_stopping_threshold=0.1, save_strategy="best")
    with pytest.raises(RequestError) as caught:
        check_request(model, training)
    named = {problem.split(":")[0] for problem in caught.value.problems}
    assert named == {
        "model.attn_implementation", "model.lora_bias", "training.early_stopping_threshold",
        "training.save_strategy",
    }  # fmt: skip
    assert caught.value.exit_code == 3


def test_what_it_can_honour_passes() -> None:
    check_request(MODEL, ENGINE)
    check_request(change(MODEL, lora_target_modules=("q_proj",)), change(ENGINE, seed=7))


def test_a_pattern_of_targets_is_refused() -> None:
    with pytest.raises(RequestError, match="lora_target_modules"):
        check_request(change(MODEL, lora_target_modules=".*_proj"), ENGINE)


def test_what_does_not_go_together_is_refused_with_the_request() -> None:
    with pytest.raises(ValidationError, match="engine_args: badam_mode"):
        TrainingConfig(engine_args={"badam_mode": "layer"})
    with pytest.raises(ValidationError, match=r"training.objective: dpo"):
        TrainingConfig(engine="llamafactory", objective="dpo", packing=False)
    with pytest.raises(ValidationError, match=r"does not pack; write training.packing: false"):
        TrainingConfig(engine="llamafactory")


def test_its_own_keys_pass() -> None:
    args = {"loraplus_lr_ratio": 16.0, "use_dft_loss": True, "stage": "ppo"}
    assert check_args(**args) == args
    freeze = {"finetuning_type": "freeze", "freeze_trainable_layers": 2}
    assert check_args(**freeze) == freeze


def test_values_are_what_their_text_says() -> None:
    args = {"loraplus_lr_ratio": "4.0", "use_dft_loss": "false", "freeze_extra_modules": "norm"}
    found = check_args(**args)
    assert found == {
        "loraplus_lr_ratio": 4.0, "use_dft_loss": False, "freeze_extra_modules": "norm",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("learning_rate", 1, "write training.learning_rate instead"),
        ("lora_rank", 1, "write model.lora_r instead"),
        ("tokenized_path", "x", "hone sets it"),
        ("push_to_hub", True, "only the gate publishes"),
        ("trust_remote_code", True, "no code from a model repository"),
        ("neat_packing", True, "tokenised by hone"),
        ("pissa_init", True, "base model would no longer be"),
        ("hf_hub_token", "x", "secrets never stand"),
        ("deepspeed", "x", "one device"),
        ("stage", "rm", "allowed: sft, ppo"),
        ("finetuning_type", "oft", "freeze, with model.method: full"),
    ],
)
def test_keys_that_are_not_its_own_are_refused(key: str, value: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=reason) as caught:
        check_args(**{key: value})
    assert caught.value.where == "training.engine_args"


def test_ppo_validates_nothing() -> None:
    with pytest.raises(RequestError, match=r"write training\.eval_strategy: no"):
        check_engine_args(MODEL, change(ENGINE, engine_args={"stage": "ppo"}), OURS)


def test_secrets_are_not_repeated() -> None:
    with pytest.raises(RequestError) as caught:
        check_args(hf_hub_token="very-secret")
    assert "very-secret" not in str(caught.value)


def test_tied_embeddings_trained_in_full_are_refused() -> None:
    saved = change(MODEL, lora_modules_to_save=("embed_tokens",))
    check_base(saved, make_base(), "float32")
    with pytest.raises(RequestError, match="come apart"):
        check_base(saved, make_base(is_tied=True), "float32")


def test_precision_of_the_stored_base_is_kept() -> None:
    check_base(MODEL, make_base(dtype="bfloat16"), "bfloat16")
    check_base(change(MODEL, method="full"), make_base(dtype="bfloat16"), "float32")
    with pytest.raises(RequestError, match="as it is stored: bfloat16"):
        check_base(MODEL, make_base(dtype="torch.bfloat16"), "float32")
