"""Distillation: the loss, its gradient, who may teach, and a training with a teacher."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from configs.errors import RequestError
from tasks.training import distillation
from tasks.training.collator import PackedRow, pack_row
from tasks.training.distillation import (
    check_vocabulary,
    compute_distilled_losses,
    compute_divergence,
)
from tasks.training.loss import compute_token_losses
from tasks.training.models import load_base
from tasks.training.result import TrainingResult
from tasks.training.train import train_model

from .conftest import LORA, TRAINING
from .test_train import change, read_history


@pytest.fixture
def row() -> PackedRow:
    ids = list(range(5, 25))
    return pack_row([(ids, [-100] * 7 + ids[7:]), (ids[3:12], [-100] * 2 + ids[5:12])])


def shift(model: torch.nn.Module) -> torch.nn.Module:
    """Return a frozen model of other opinions."""
    other = copy.deepcopy(model)
    torch.manual_seed(1)
    for parameter in other.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return other.requires_grad_(requires_grad=False)


def test_weight_of_zero_is_cross_entropy(base: Path, row: PackedRow) -> None:
    model = load_base(base, dtype="float32")
    found = compute_distilled_losses(model, row, teacher=shift(model), weight=0.0, temperature=2.0)
    assert torch.equal(found, compute_token_losses(model, row))


def test_a_model_teaches_itself_nothing(base: Path, row: PackedRow) -> None:
    model = load_base(base, dtype="float32")
    found = compute_distilled_losses(model, row, teacher=model, weight=1.0, temperature=2.0)
    assert found.abs().max().item() < 1e-6
    (gradient,) = torch.autograd.grad(found.sum(), model.lm_head.weight)
    assert gradient.abs().max().item() < 1e-6


def test_loss_and_gradient_are_those_of_the_formula(
    base: Path, row: PackedRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written out naively, with probabilities; and the same in pieces of three tokens."""
    model = load_base(base, dtype="float32")
    teacher, weight, temperature = shift(model), 0.3, 2.5
    logits = distillation.compute_logits(model, row)
    taught = distillation.compute_logits(teacher, row)
    p, q = (torch.softmax(x / temperature, dim=-1) for x in (taught, logits))
    divergence = (p * (p.log() - q.log())).sum(dim=-1)
    nll = -torch.log_softmax(logits, dim=-1).gather(1, row.targets[:, None])[:, 0]
    expected = (1 - weight) * nll + weight * temperature**2 * divergence
    (gradient,) = torch.autograd.grad(expected.sum(), model.lm_head.weight)
    assert divergence.min().item() > 1e-3  # they do not agree by chance

    for chunk_bytes in (1 << 28, 8 * 400 * 3):
        monkeypatch.setattr(distillation, "CHUNK_BYTES", chunk_bytes)
        found = compute_distilled_losses(
            model, row, teacher=teacher, weight=weight, temperature=temperature
        )
        assert torch.allclose(found, expected, atol=1e-5)
        (own,) = torch.autograd.grad(found.sum(), model.lm_head.weight)
        assert torch.allclose(own, gradient, atol=1e-5)


def test_padding_of_the_vocabulary_is_left_out() -> None:
    torch.manual_seed(0)
    logits, taught = torch.randn(4, 10), torch.randn(4, 10)
    wider = torch.cat([taught, torch.randn(4, 3)], dim=1)
    assert torch.equal(
        compute_divergence(logits, wider, 1.0), compute_divergence(logits, taught, 1.0)
    )


def test_teachers_of_another_vocabulary_are_refused(base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<other>"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RequestError, match="<other>") as caught:
        check_vocabulary(tmp_path, base, revision=None)
    assert caught.value.where == "training.teacher"
    check_vocabulary(base, base, revision=None)


def train(
    formatted: Path, base: Path, out: Path, teacher: Path, revision: str = "t1", weight: float = 0.8
) -> TrainingResult:
    return train_model(
        formatted=formatted,
        base_location=base,
        out=out,
        model=LORA,
        training=change(TRAINING, teacher=str(teacher), distillation_weight=weight, max_steps=6),
        base_revision="abc",
        teacher_location=teacher,
        teacher_revision=revision,
    )


def test_training_comes_nearer_to_its_teacher(
    formatted: Path, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_base(base, dtype="float32")
    teacher = tmp_path / "teacher"
    shift(model).save_pretrained(teacher)
    AutoTokenizer.from_pretrained(base).save_pretrained(teacher)
    with caplog.at_level(logging.INFO, "hone"):
        result = train(formatted, base, tmp_path / "out", teacher, weight=1.0)
    losses = [record["loss"] for record in read_history(result) if "loss" in record]
    assert losses[-1] < losses[0]  # the divergence alone
    assert "teacher: " in caplog.text
    # The teacher determines the result: with another one, nothing is gone on with.
    train(formatted, base, tmp_path / "out", teacher, revision="t2", weight=1.0)
    assert "it belongs to another training" in caplog.text
