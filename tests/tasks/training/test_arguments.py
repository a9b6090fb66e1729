"""The loop's arguments say what our rows need, on every host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import RequestError
from configs.schema import TrainingConfig
from tasks.training.arguments import build_arguments, check_optimization
from tasks.training.plan import plan_training


def test_one_process_uses_one_of_several_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers would split each row over all of them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    training = TrainingConfig()
    args = build_arguments(
        tmp_path,
        training,
        plan_training([5, 6, 7], training),
        device="cuda",
        dtype="float32",
        has_validation=False,
        use_cache=True,
        activation_checkpointing=False,
    )
    assert args.n_gpu == 1
    assert args.train_batch_size == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"optim": "adamwx"}, "training.optim: found adamwx"),
        ({"lr_scheduler_kwargs": {"bogus": 1.0}}, "training.lr_scheduler_kwargs: .*bogus"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "num_decay_steps"),
    ],
)
def test_what_transformers_does_not_know_is_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(RequestError, match=expected):
        check_optimization(TrainingConfig(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 2}},
    ],
)
def test_what_transformers_knows_is_taken(fields: dict[str, Any]) -> None:
    check_optimization(TrainingConfig(**fields))
