"""Guards see what nothing else tells: leaking attention, and values that are no numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from configs.errors import RunError
from configs.schema import TrainingConfig
from tasks.training.attention import VARLEN, use_attention
from tasks.training.guards import MAX_SKIPPED_STEPS, FiniteGuard, check_packing
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
            check_packing(model, split, "float32", "cpu", own_attention="sdpa", packing=True)
    with (
        use_attention(model, "leaking"),
        pytest.raises(RunError, match=r"training.packing: .* in one row and .* apart"),
    ):
        check_packing(model, split, "float32", "cpu", own_attention="sdpa", packing=True)


@pytest.mark.parametrize(
    ("packing", "where"), [(True, "training.packing"), (False, "model.attn_implementation")]
)
def test_attention_that_is_wrong_in_every_row_is_found(
    base: Path, split: TokenSplit, packing: bool, where: str
) -> None:
    """It keeps the examples apart, and would agree with itself."""

    def attend_sharply(*args: Any, scaling: float, **others: Any) -> Any:
        return sdpa_attention_forward(*args, scaling=4 * scaling, **others)

    AttentionInterface.register("sharp", attend_sharply)
    AttentionMaskInterface.register("sharp", ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model = load_base(base, dtype="float32")
    with use_attention(model, "sharp"):
        check_packing(model, split, "float32", "cpu", own_attention="sharp", packing=packing)
        with pytest.raises(RunError, match=rf"{where}: .* own attention \(sdpa\)"):
            check_packing(model, split, "float32", "cpu", own_attention="sdpa", packing=packing)


def test_examples_that_are_not_packed_need_not_be_kept_apart(base: Path, split: TokenSplit) -> None:
    AttentionInterface.register("leaking", sdpa_attention_forward)
    model = load_base(base, dtype="float32")
    with use_attention(model, "leaking"):
        check_packing(model, split, "float32", "cpu", own_attention="sdpa", packing=False)


def test_base_that_computes_no_number_is_found(base: Path, split: TokenSplit) -> None:
    model = load_base(base, dtype="float32")
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.inf)
    with pytest.raises(RunError, match="before any training step"):
        check_packing(model, split, "float32", "cpu", own_attention="sdpa", packing=True)


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


def test_loss_scaling_that_never_ends_is_found(split: TokenSplit) -> None:
    guard = FiniteGuard(plan_training(split.lengths, TrainingConfig()), split)
    for step in range(1, MAX_SKIPPED_STEPS):
        guard.count_skipped(step, is_skipped=True)
    guard.count_skipped(MAX_SKIPPED_STEPS, is_skipped=False)  # one good step, and all is well
    for step in range(31, 30 + MAX_SKIPPED_STEPS):
        guard.count_skipped(step, is_skipped=True)
    with pytest.raises(RunError, match=r"step 50: .* not finite in 20 steps in a row"):
        guard.count_skipped(50, is_skipped=True)
