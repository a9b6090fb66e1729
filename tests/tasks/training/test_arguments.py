"""The loop's arguments say what our rows need, on every host."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from configs.schema import TrainingConfig
from tasks.training.arguments import build_arguments
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
