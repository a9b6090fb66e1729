"""Each objective takes its own keys, and refuses those of others with the reason."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from configs.objectives import LOSS_TYPES, OWN_KEYS, DpoLoss
from configs.schema import RunConfig, TrainingConfig


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"objective": "reward"}, "a reward model scores answers and writes none"),
        ({"beta": 0.1}, "training.beta has no meaning with training.objective: sft"),
        ({"objective": "orpo", "label_smoothing": 0.1}, "allowed with: dpo"),
        ({"objective": "dpo", "desirable_weight": 2.0}, "allowed with: kto"),
        ({"objective": "dpo", "loss_type": "kto"}, "none of training.objective: dpo"),
        ({"objective": "dpo", "loss_type": "exo_pair"}, "label_smoothing above 0"),
        ({"objective": "dpo", "assistant_only_loss": False}, "allowed: true"),
        ({"objective": "dpo", "neftune_noise_alpha": 5.0}, "allowed: null"),
        ({"objective": "dpo", "teacher": "t"}, "allowed with: sft"),
        ({"objective": "kto", "per_device_train_batch_size": 1}, "at least 2"),
        ({"objective": "kto", "metric_for_best_model": "eval_accuracy"}, "allowed: eval_loss"),
        ({"distillation_weight": 0.1}, "without training.teacher"),
        ({"teacher_revision": "main"}, "without training.teacher"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(fields: dict[str, Any], found: str) -> None:
    with pytest.raises(ValidationError, match=found):
        TrainingConfig(**fields)


def test_each_objective_takes_its_own_keys() -> None:
    TrainingConfig(objective="dpo", beta=0.2, loss_type="robust", label_smoothing=0.1)
    TrainingConfig(objective="orpo", beta=0.2)
    TrainingConfig(objective="kto", beta=0.2, desirable_weight=1.3, undesirable_weight=1.0)
    config = TrainingConfig(teacher="t", distillation_weight=0.1, distillation_temperature=2.0)
    assert TrainingConfig.model_validate(config.model_dump()) == config


def test_own_keys_are_fields() -> None:
    assert set(OWN_KEYS) <= set(TrainingConfig.model_fields)
    assert LOSS_TYPES["dpo"] == get_args(DpoLoss)


@pytest.mark.parametrize(("objective", "undesired"), [("kto", "filter"), ("sft", "keep")])
def test_undesired_answers_are_for_kto_alone(objective: str, undesired: str) -> None:
    with pytest.raises(ValidationError, match="keep with kto"):
        RunConfig(training={"objective": objective}, data={"undesired": undesired})
    RunConfig(training={"objective": "kto"}, data={"undesired": "keep"})
