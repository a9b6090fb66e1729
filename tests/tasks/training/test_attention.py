"""Packed examples do not see each other, whichever attention computes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig, Qwen2Config

from configs.errors import RequestError
from tasks.training.attention import VARLEN, choose_attention, use_attention
from tasks.training.collator import pack_row
from tasks.training.loss import compute_token_losses
from tasks.training.models import load_base

SMALL = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}
CONFIGS = {
    "mistral-window": MistralConfig(**SMALL, sliding_window=5),
    "qwen2": Qwen2Config(**SMALL),
    "gpt2": GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2),
}


def make_examples(lengths: tuple[int, ...] = (11, 3, 17, 2)) -> list[tuple[list[int], list[int]]]:
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(0, 99, (n,), generator=generator).tolist() for n in lengths]
    return [(ids, [-100, *ids[1:]]) for ids in rows]


def compute_losses(model: Any, attention: str, *, packed: bool) -> torch.Tensor:
    examples = make_examples()
    rows = [pack_row(examples)] if packed else [pack_row([example]) for example in examples]
    with torch.no_grad(), use_attention(model, attention):
        return torch.cat([compute_token_losses(model, row) for row in rows])


@pytest.mark.parametrize("attention", [VARLEN, "sdpa", "eager"])
@pytest.mark.parametrize("name", CONFIGS)
def test_packed_losses_equal_separate_ones(name: str, attention: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    separate = compute_losses(model, "eager", packed=False)
    packed = compute_losses(model, attention, packed=True)
    assert (packed - separate).abs().max() < 1e-5


def test_a_packed_row_has_the_gradient_of_separate_ones(base: Path) -> None:
    def compute_gradient(attention: str, *, packed: bool) -> torch.Tensor:
        model = load_base(base, dtype="float32")
        examples = make_examples()
        rows = [pack_row(examples)] if packed else [pack_row([example]) for example in examples]
        with use_attention(model, attention):
            for row in rows:
                compute_token_losses(model, row).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    reference = compute_gradient("eager", packed=False)
    for attention in (VARLEN, "sdpa"):
        difference = compute_gradient(attention, packed=True) - reference
        assert difference.abs().max() < 1e-5 * reference.abs().max()


def test_varlen_refuses_what_it_would_compute_wrongly(base: Path) -> None:
    model = load_base(base, dtype="float32")
    padded = {"input_ids": torch.ones(2, 4, dtype=torch.long)}
    with use_attention(model, VARLEN), pytest.raises(AssertionError, match=r"packed rows only"):
        model(**padded, attention_mask=torch.ones(2, 4, dtype=torch.long))


def test_attention_is_as_before_after_the_block(base: Path) -> None:
    model = load_base(base, dtype="float32")
    before = model.config._attn_implementation
    with use_attention(model, VARLEN):
        assert model.config._attn_implementation == VARLEN
    assert model.config._attn_implementation == before


def test_auto_takes_varlen_when_packing(base: Path) -> None:
    model = load_base(base, dtype="float32")
    assert choose_attention(model, "auto", packing=True) == VARLEN
    assert choose_attention(model, "auto", packing=False) == "sdpa"
    assert choose_attention(model, "eager", packing=True) == "eager"


def test_models_whose_rows_would_mix_are_refused() -> None:
    from transformers import MambaConfig

    config = MambaConfig(vocab_size=99, hidden_size=16, num_hidden_layers=1)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(RequestError, match=r"training.packing"):
        choose_attention(model, "auto", packing=True)
    with pytest.raises(RequestError, match=r"model.attn_implementation"):
        choose_attention(model, "varlen", packing=False)


def test_capped_scores_keep_their_own_attention() -> None:
    from transformers import Gemma2Config

    config = Gemma2Config(**SMALL, head_dim=8)
    model = AutoModelForCausalLM.from_config(config)
    assert choose_attention(model, "auto", packing=True) != VARLEN
    with pytest.raises(RequestError, match=r"capped"):
        choose_attention(model, "varlen", packing=True)


def test_chunked_attention_stays_the_models_own() -> None:
    from transformers import Llama4TextConfig

    config = Llama4TextConfig(
        **SMALL, head_dim=8, intermediate_size_mlp=48, num_local_experts=2, attention_chunk_size=8
    )
    model = AutoModelForCausalLM.from_config(config)
    assert choose_attention(model, "auto", packing=True) != VARLEN
    with pytest.raises(RequestError, match=r"chunked"):
        choose_attention(model, "varlen", packing=True)
