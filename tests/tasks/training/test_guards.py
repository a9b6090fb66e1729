"""Guards see what nothing else tells: leaking attention, and values that are no numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from configs.errors import RunError
from configs.schema import TrainingConfig
from tasks.training.attention import VARLEN, use_attention
from tasks.training.guards import FiniteGuard, check_packing
from tasks.training.models import load_base
from tasks.training.plan import plan_training
from tasks.training.tokens import TokenSplit, open_split


@pytest.fixture
def split(formatted: Path) -> TokenSplit:
    found = open_split(formatted, "train")
    assert found
    return found


def test_attention_that_leaks_is_found(base: Path, split: TokenSplit) -> None:
    """An attention that is not registered for masks gets none: examples see each other."""
    AttentionInterface.register("leaking", sdpa_attention_forward)
    model = load_base(base, dtype="float32")
    for attention in (VARLEN, "sdpa"):
        with use_attention(model, attention):
            check_packing(model, split, "float32", "cpu")
    with (
        use_attention(model, "leaking"),
        pytest.raises(RunError, match=r"training.packing: .* in one row and .* apart"),
    ):
        check_packing(model, split, "float32", "cpu")


def test_base_that_computes_no_number_is_found(base: Path, split: TokenSplit) -> None:
    model = load_base(base, dtype="float32")
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.inf)
    with pytest.raises(RunError, match="before any training step"):
        check_packing(model, split, "float32", "cpu")


def test_first_bad_step_is_named_with_its_rows(split: TokenSplit) -> None:
    plan = plan_training(split.lengths, TrainingConfig(num_train_epochs=1))
    guard = FiniteGuard(plan, split)
    guard.add(1, "loss", torch.tensor(1.0))
    guard.check()
    guard.add(2, "loss", torch.tensor(2.0))
    guard.add(2, "gradient norm", torch.tensor(torch.inf))
    guard.add(3, "loss", torch.tensor(torch.nan))
    with pytest.raises(RunError, match="step 2: the gradient norm is inf") as caught:
        guard.check()
    assert split.ids[plan.find_examples(2)[0]] in str(caught.value)
    guard.check()  # values are looked at once
