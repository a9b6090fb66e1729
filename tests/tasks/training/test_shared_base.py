"""Base weights are loaded once for stages that follow each other, and are never somebody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import RequestError
from configs.schema import ModelConfig
from tasks.training import shared_base
from tasks.training.adapters import attach_adapter, detach_adapter, write_adapter
from tasks.training.models import load_base
from tasks.training.shared_base import borrow_base, borrow_trained, lend_base, release_base

TINY_BASE = Path(__file__).resolve().parents[3] / "data" / "tiny-base"
OPTIONS: dict[str, Any] = {"dtype": "float32", "device": "cpu"}
LORA = ModelConfig(lora_modules_to_save=("embed_tokens",))


@pytest.fixture(autouse=True)
def _start_without_base() -> Any:
    release_base()
    yield
    release_base()


def compute_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(torch.tensor([[1, 5, 9, 200]])).logits
    return logits


def count_loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    loaded: list[Any] = []

    def load(*args: Any, **kwargs: Any) -> Any:
        loaded.append(args)
        return load_base(*args, **kwargs)

    monkeypatch.setattr(shared_base, "load_base", load)
    return loaded


def train_one_step(base: Any) -> Any:
    """Put an adapter on, change it, and leave behind what a training leaves behind."""
    net = attach_adapter(base, LORA)
    base.generation_config.max_new_tokens = 3
    base.set_attn_implementation("sdpa")
    net.enable_input_require_grads()
    net.gradient_checkpointing_enable()
    net.train()
    optimizer = torch.optim.SGD((p for p in net.parameters() if p.requires_grad), lr=1.0)
    net(torch.tensor([[1, 5, 9, 200]]), labels=torch.tensor([[1, 5, 9, 200]])).loss.backward()
    optimizer.step()
    return net


def test_a_trained_adapter_leaves_the_base_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded = count_loads(monkeypatch)
    with borrow_base(TINY_BASE, **OPTIONS) as base:
        expected = compute_logits(base)
        before = base.generation_config.to_dict()
        own_attention = base.config._attn_implementation
    with borrow_base(TINY_BASE, **OPTIONS) as base:
        net = train_one_step(base)
        write_adapter(net, tmp_path, name="tiny", revision=None)
        assert not torch.allclose(compute_logits(net), expected, atol=1e-3)
        detach_adapter(net)
    with borrow_trained(tmp_path, TINY_BASE, method="lora", **OPTIONS) as net:
        tuned = compute_logits(net)
    with borrow_base(TINY_BASE, **OPTIONS) as base:
        assert torch.equal(compute_logits(base), expected)
        assert base.generation_config.to_dict() == before
        assert base.config._attn_implementation == own_attention
        assert not base.training
        assert not base.is_activation_checkpointing
        assert all(p.requires_grad and p.grad is None for p in base.parameters())
    assert not torch.allclose(tuned, expected, atol=1e-3)
    assert len(loaded) == 1


def change_weight(base: Any) -> None:
    with torch.no_grad():
        next(base.parameters()).add_(1)


def replace_weight(base: Any) -> None:
    parameter = next(base.parameters())
    parameter.data = parameter.data.clone()


def add_hook(base: Any) -> None:
    base.register_forward_hook(lambda *_: None)


def change_config(base: Any) -> None:
    base.config.rope_theta = 5.0


def leave_adapter(base: Any) -> None:
    attach_adapter(base, LORA)


@pytest.mark.parametrize(
    "change", [change_weight, replace_weight, add_hook, change_config, leave_adapter]
)
def test_a_changed_base_is_loaded_again(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    loaded = count_loads(monkeypatch)
    with borrow_base(TINY_BASE, **OPTIONS) as base:
        change(base)
    with borrow_base(TINY_BASE, **OPTIONS) as again:
        assert torch.equal(compute_logits(again), compute_logits(load_base(TINY_BASE, **OPTIONS)))
    assert len(loaded) == 2


def test_another_precision_or_revision_or_an_error_loads_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = count_loads(monkeypatch)
    with borrow_base(TINY_BASE, **OPTIONS, revision="a"):
        pass
    with borrow_base(TINY_BASE, **OPTIONS, revision="b"):
        pass
    with borrow_base(TINY_BASE, dtype="bfloat16", device="cpu", revision="b") as base:
        assert base.dtype == torch.bfloat16
    with pytest.raises(KeyError), borrow_base(TINY_BASE, **OPTIONS):
        raise KeyError
    with borrow_base(TINY_BASE, **OPTIONS) as outer, borrow_base(TINY_BASE, **OPTIONS) as inner:
        assert outer is not inner
    assert len(loaded) == 6


def test_a_full_training_does_not_leave_its_weights_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = count_loads(monkeypatch)
    with borrow_base(TINY_BASE, **OPTIONS) as base:
        expected = compute_logits(base)
        optimizer = torch.optim.SGD(base.parameters(), lr=1.0)
        base(torch.tensor([[1, 5]]), labels=torch.tensor([[1, 5]])).loss.backward()
        optimizer.step()
    with borrow_base(TINY_BASE, **OPTIONS) as base:
        assert torch.equal(compute_logits(base), expected)
    assert len(loaded) == 2


def test_a_base_that_was_made_elsewhere_is_lent_under_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = count_loads(monkeypatch)
    made = load_base(TINY_BASE, **OPTIONS)
    lend_base(made, "made-elsewhere", **OPTIONS)
    with borrow_base("made-elsewhere", **OPTIONS) as base:
        assert base is made
        net = train_one_step(base)
        detach_adapter(net)
    with borrow_base("made-elsewhere", **OPTIONS) as again:
        assert again is made
    assert loaded == []
    lend_base(made, "made-elsewhere", method="qlora", model=LORA, **OPTIONS)
    in_8_bits = LORA.model_copy(update={"load_in_8bit": True})
    with (
        pytest.raises(RequestError),  # nothing lies there
        borrow_base("made-elsewhere", method="qlora", model=in_8_bits, **OPTIONS),
    ):
        pass
