from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from tasks.evaluation import nll
from tasks.evaluation.nll import plan_batches, score_nll
from tasks.formatting.rendering.renderer import Renderer, TokenizedExample
from tasks.formatting.rows.examples import Example
from tasks.records.observer import SilentObserver

SILENT = SilentObserver()


def score_alone(model: Any, row: TokenizedExample) -> tuple[float, int]:
    with torch.inference_mode():
        logits = model(torch.tensor([row.input_ids])).logits[0].double()
    log_probabilities = torch.log_softmax(logits, dim=-1)
    scored = [(i, label) for i, label in enumerate(row.labels) if label != -100]
    return -sum(float(log_probabilities[i - 1, label]) for i, label in scored), len(scored)


@pytest.fixture(scope="module")
def rows(renderer: Renderer, examples: list[Example]) -> list[TokenizedExample]:
    return [renderer.render_example(example, assistant_only_loss=True) for example in examples]


def test_batched_sums_equal_separate_ones(tiny_base: Any, rows: list[TokenizedExample]) -> None:
    scores = score_nll(tiny_base, rows, observer=SILENT)
    for row, score in zip(rows, scores, strict=True):
        expected, count = score_alone(tiny_base, row)
        assert score.nll_sum == pytest.approx(expected, rel=1e-5)
        assert score.num_tokens == count == row.num_trained


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_other_architectures_and_scored_prompts(
    architecture: str, renderer: Renderer, examples: list[Example]
) -> None:
    torch.manual_seed(1)
    model: Any
    if architecture == "llama":
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=2048, num_hidden_layers=2, **sizes))
    else:
        model = GPT2LMHeadModel(GPT2Config(vocab_size=2048, n_embd=32, n_layer=2, n_head=4))
    model = model.eval()
    rows = [renderer.render_example(e, assistant_only_loss=False) for e in examples[:6]]
    for row, score in zip(rows, score_nll(model, rows, observer=SILENT), strict=True):
        expected, count = score_alone(model, row)
        assert score.nll_sum == pytest.approx(expected, rel=1e-5)
        assert score.num_tokens == count == len(row.input_ids) - 1


def test_small_batches_and_chunks_give_the_same_sums(
    tiny_base: Any, rows: list[TokenizedExample], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = score_nll(tiny_base, rows, observer=SILENT)
    monkeypatch.setattr(nll, "MAX_BATCH_TOKENS", 100)
    monkeypatch.setattr(nll, "CHUNK_POSITIONS", 3)
    assert len(list(plan_batches(rows, 2048))) > 3
    found = score_nll(tiny_base, rows, observer=SILENT)
    assert [s.num_tokens for s in found] == [s.num_tokens for s in expected]
    assert [s.nll_sum for s in found] == pytest.approx([s.nll_sum for s in expected], rel=1e-5)


def test_batches_hold_every_row_once_within_the_bounds() -> None:
    lengths = [5, 900, 3, 3000, 3000, 3000, 40, 9000, 7]
    rows = [TokenizedExample([1] * length, [-100] + [1] * (length - 1), ()) for length in lengths]
    batches = list(plan_batches(rows, vocabulary_size=100))
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    for batch in batches:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= nll.MAX_BATCH_TOKENS
    by_logits = list(plan_batches(rows, vocabulary_size=1 << 20))
    assert all(
        len(b) == 1 or len(b) * max(lengths[i] for i in b) << 20 <= nll.MAX_LOGITS * 2
        for b in by_logits
    )
    assert len(by_logits) > len(batches)
    assert list(plan_batches([], 100)) == []
