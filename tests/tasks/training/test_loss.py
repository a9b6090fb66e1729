"""The loss is Hugging Face's, computed for the trained tokens only and in pieces."""

from pathlib import Path

import pytest
import torch

from tasks.training import loss as loss_module
from tasks.training.collator import IGNORE_INDEX, pack_row
from tasks.training.loss import compute_cross_entropy, compute_token_losses
from tasks.training.models import load_base


def test_loss_is_the_models_own_with_labels(base: Path) -> None:
    model = load_base(base, dtype="float32")
    ids = list(range(5, 25))
    labels = [IGNORE_INDEX] * 7 + ids[7:12] + [IGNORE_INDEX] * 3 + ids[15:]
    with torch.no_grad():
        losses = compute_token_losses(model, pack_row([(ids, labels)]))
        expected = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
    assert len(losses) == 10
    assert losses.mean().item() == pytest.approx(expected.item(), abs=1e-6)


def test_models_that_cannot_keep_some_logits_give_the_same(base: Path) -> None:
    model = load_base(base, dtype="float32")
    row = pack_row([(list(range(9)), [-100, *range(1, 9)])])

    class Old(torch.nn.Module):
        config = model.config

        def forward(self, input_ids, attention_mask, use_cache):
            return model(input_ids, attention_mask, use_cache=use_cache)

    with torch.no_grad():
        expected, found = compute_token_losses(model, row), compute_token_losses(Old(), row)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_single_example_needs_no_positions() -> None:
    """State-space models take none: they train without packing."""
    from transformers import AutoModelForCausalLM, MambaConfig

    torch.manual_seed(0)
    config = MambaConfig(vocab_size=99, hidden_size=16, num_hidden_layers=1)
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = list(range(5, 14))
    with torch.no_grad():
        losses = compute_token_losses(model, pack_row([(ids, [-100, *ids[1:]])]))
        expected = model(torch.tensor([ids]), labels=torch.tensor([ids])).loss
    assert losses.mean().item() == pytest.approx(expected.item(), abs=1e-5)


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits = torch.randn(50, 33, requires_grad=True)
    targets = torch.randint(0, 33, (50,))
    whole = compute_cross_entropy(logits, targets)
    (gradient,) = torch.autograd.grad(whole.sum(), logits)
    monkeypatch.setattr(loss_module, "CHUNK_BYTES", 4 * 33 * 7)
    pieces = compute_cross_entropy(logits, targets)
    assert torch.equal(pieces, whole)
    assert torch.equal(torch.autograd.grad(pieces.sum(), logits)[0], gradient)
