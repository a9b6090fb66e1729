"""Preference training on judged answers: it learns, on our tokens, and its result loads."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from configs.errors import RequestError
from configs.schema import ModelConfig, TrainingConfig
from tasks.training import shared_base
from tasks.training.collator import pack_row
from tasks.training.loss import compute_token_losses
from tasks.training.models import load_base
from tasks.training.objectives.answers import Answer, judge_split
from tasks.training.result import TrainingResult
from tasks.training.tokens import open_split
from tasks.training.train import train_model
from tests.tasks.training.conftest import LORA, TRAINING


def change(config: Any, **fields: Any) -> Any:
    return type(config).model_validate(config.model_dump() | fields)


def run(
    formatted: Path,
    base: Path,
    out: Path,
    objective: str,
    model: ModelConfig = LORA,
    **fields: Any,
) -> TrainingResult:
    training: TrainingConfig = change(TRAINING, objective=objective, **fields)
    return train_model(
        formatted=formatted,
        base_location=base,
        out=out,
        model=model,
        training=training,
        base_revision="abc",
    )


def read_history(result: TrainingResult) -> list[dict[str, float]]:
    return [json.loads(line) for line in result.history_path.read_text().splitlines()]


def sum_logps(model: Any, answers: list[Answer]) -> torch.Tensor:
    """Return the log-probability of each answer by the loss of supervised training."""
    rows = [pack_row([(answer.input_ids, answer.labels)]) for answer in answers]
    with torch.no_grad():
        return torch.stack([-compute_token_losses(model, row).sum() for row in rows])


@pytest.mark.parametrize("objective", ["dpo", "orpo"])
def test_margins_grow(objective: str, pairs: Path, base: Path, tmp_path: Path) -> None:
    result = run(pairs, base, tmp_path, objective)
    history = read_history(result)
    margins = [record["rewards/margins"] for record in history if "rewards/margins" in record]
    losses = [record["loss"] for record in history if "loss" in record]
    assert result.num_steps == 12  # 22 examples, 2 x 2 a step, 2 epochs
    assert margins[-1] > margins[0]
    assert losses[-1] < losses[0]
    assert result.metrics["eval_rewards/accuracies"] == 1.0
    assert result.metrics["eval_accuracy"] == 1.0
    assert result.num_trainable_parameters == 8192


def test_kto_tells_desired_from_undesired(labelled: Path, base: Path, tmp_path: Path) -> None:
    result = run(labelled, base, tmp_path, "kto", undesirable_weight=0.7)
    assert result.metrics["eval_rewards/chosen"] > 0 > result.metrics["eval_rewards/rejected"]
    assert result.metrics["eval_rewards/margins"] == pytest.approx(
        result.metrics["eval_rewards/chosen"] - result.metrics["eval_rewards/rejected"]
    )


def test_untrained_model_prefers_nothing(pairs: Path, base: Path, tmp_path: Path) -> None:
    """The reference is the base itself: without a step the ratio of both is one."""
    result = run(pairs, base, tmp_path, "dpo", learning_rate=0.0, max_steps=1)
    assert result.metrics["eval_rewards/margins"] == 0.0
    assert result.metrics["eval_loss"] == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(change(LORA, lora_dropout=0.2), id="lora"),
        pytest.param(change(LORA, lora_modules_to_save=("embed_tokens",)), id="whole-modules"),
        pytest.param(change(LORA, method="full"), id="full"),
    ],
)
def test_figures_are_those_of_supervised_tokens(
    model: ModelConfig, pairs: Path, base: Path, tmp_path: Path, renderer: Any
) -> None:
    """What TRL measures equals what our loss gives for the same answers, without padding."""
    result = run(pairs, base, tmp_path, "dpo", model, learning_rate=1e-3, beta=0.2)
    split = open_split(pairs, "validation")
    assert split is not None
    judged = judge_split(pairs, split, renderer, objective="dpo", max_length=128)
    answers = judged.read_answers(range(7)) + list(judged.rejected)
    before = sum_logps(load_base(base, dtype="float32"), answers)
    if model.method == "full":
        tuned = load_base(tmp_path / "model", dtype="float32")
    else:  # as any tool loads it
        tuned = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(base), tmp_path / "model"
        ).eval()
    after = sum_logps(tuned, answers)
    chosen, rejected = (0.2 * (after - before)).split(7)
    metrics = result.metrics
    assert metrics["eval_logps/chosen"] == pytest.approx(float(after[:7].mean()), rel=1e-4)
    assert metrics["eval_logps/rejected"] == pytest.approx(float(after[7:].mean()), rel=1e-4)
    assert metrics["eval_rewards/chosen"] == pytest.approx(float(chosen.mean()), abs=1e-4)
    assert metrics["eval_rewards/rejected"] == pytest.approx(float(rejected.mean()), abs=1e-4)
    loss = -torch.nn.functional.logsigmoid(chosen - rejected).mean()
    assert metrics["eval_loss"] == pytest.approx(float(loss), rel=1e-4)


def test_orpo_trains_on_answers_alone(
    pairs: Path, base: Path, tmp_path: Path, renderer: Any
) -> None:
    result = run(
        pairs, base, tmp_path, "orpo", learning_rate=0.0, max_steps=1,
        per_device_train_batch_size=8, beta=0.5,
    )  # fmt: skip
    split = open_split(pairs, "validation")
    assert split is not None
    judged = judge_split(pairs, split, renderer, objective="orpo", max_length=128)
    answers = judged.read_answers(range(7)) + list(judged.rejected)
    lengths = torch.tensor([sum(label != -100 for label in a.labels) for a in answers])
    sums = sum_logps(load_base(base, dtype="float32"), answers)
    chosen, rejected = (sums / lengths).split(7)
    odds = chosen - rejected - (torch.log1p(-chosen.exp()) - torch.log1p(-rejected.exp()))
    nll = -sums[:7].sum() / lengths[:7].sum()
    expected = nll - 0.5 * torch.nn.functional.logsigmoid(odds).mean()
    assert result.metrics["eval_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_base_is_as_before(pairs: Path, base: Path, tmp_path: Path) -> None:
    """What TRL changes in the model is taken back: the next user gets the same weights."""
    shared_base.release_base()
    with shared_base.borrow_base(base, dtype="float32", device="cpu", revision="abc") as held:
        pass
    run(pairs, base, tmp_path, "dpo", max_steps=1)
    with shared_base.borrow_base(base, dtype="float32", device="cpu", revision="abc") as again:
        assert again is held
        assert "forward" not in vars(again)
    shared_base.release_base()


def test_model_folder_is_the_usual_one(pairs: Path, base: Path, tmp_path: Path) -> None:
    run(pairs, base, tmp_path, "dpo", max_steps=1)
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names >= {
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
        "generation_config.json", "tokenizer.json",
    }  # fmt: skip
    assert "README.md" not in names
    generation = json.loads((tmp_path / "model" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [2]
    config = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    assert config["revision"] == "abc"


@pytest.mark.parametrize(
    ("objective", "folder", "found"),
    [
        ("dpo", "labelled", "dpo learns from pairs of answers; 21 of 21 rows"),
        ("orpo", "labelled", "have no rejected answer"),
        ("kto", "pairs", "kto learns from labelled answers; 22 of 22 rows"),
    ],
)
def test_rows_that_do_not_fit_the_objective_are_refused(
    objective: str,
    folder: str,
    found: str,
    base: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    with pytest.raises(RequestError, match=found) as caught:
        run(request.getfixturevalue(folder), base, tmp_path, objective)
    assert caught.value.where == "training.objective"


def test_long_rejected_answers_are_named(pairs: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        run(pairs, base, tmp_path, "dpo", max_length=90)
    assert caught.value.where == "training.max_length"


def test_biases_leave_no_reference(pairs: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        run(pairs, base, tmp_path, "dpo", change(LORA, lora_bias="all"))
    assert caught.value.where == "model.lora_bias"


def test_adapter_of_a_quantised_base_is_trained_in_float32(
    pairs: Path, base: Path, tmp_path: Path
) -> None:
    """TRL would train it in bfloat16."""
    from safetensors.torch import load_file

    result = run(pairs, base, tmp_path, "dpo", change(LORA, method="qlora"), max_steps=4)
    weights = load_file(tmp_path / "model" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert any(not torch.equal(t, t.bfloat16().float()) for t in weights.values())
    assert result.metrics["eval_rewards/margins"] > 0


def test_nothing_is_sent_anywhere(
    pairs: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRL would report each training to the hub."""
    from trl.trainer import base_trainer

    sent: list[Any] = []
    monkeypatch.setattr(base_trainer, "send_telemetry", lambda **what: sent.append(what))
    monkeypatch.delenv("CI", raising=False)
    run(pairs, base, tmp_path, "orpo", max_steps=1)
    assert sent == []
