from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from tasks.evaluation import decoding
from tasks.evaluation.decoding import can_decode, can_shrink, decode_greedily
from tasks.evaluation.generation import build_generation_config, pad_left, use_only
from tasks.formatting.rendering.renderer import Renderer
from tasks.formatting.rows.examples import Example

SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 50, "initializer_range": 0.5,
}  # fmt: skip


def generate_both(model: Any, prompts: list[list[int]], config: Any) -> tuple[Any, Any]:
    inputs = pad_left(prompts, config.pad_token_id, "cpu")
    with use_only(model, config), torch.inference_mode():
        expected = model.generate(**inputs, generation_config=config)
        found = model.generate(**inputs, generation_config=config, custom_generate=decode_greedily)
    return expected, found


def test_a_shrinking_batch_gives_what_generate_gives(
    tiny_base: Any,
    renderer: Renderer,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    step = decoding._prepare_step

    def record(model: Any, state: Any, *, is_first: bool) -> Any:
        sizes.append(len(state.rows))
        return step(model, state, is_first=is_first)

    monkeypatch.setattr(decoding, "_prepare_step", record)
    prompts = [renderer.render_prompt(example) for example in examples]
    config = build_generation_config(renderer, renderer.end_token_ids, 40)
    expected, found = generate_both(tiny_base, prompts, config)
    assert torch.equal(found, expected)
    assert sizes[0] == len(prompts)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 3


@pytest.mark.parametrize("window", [None, 8])
def test_a_cache_with_a_sliding_window_shrinks_too(renderer: Renderer, window: int | None) -> None:
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window)).eval()
    prompts = [[1 + (3 * n + i) % 40 for i in range(4 + n)] for n in range(12)]
    config = build_generation_config(renderer, range(0, 50, 9), 30)
    expected, found = generate_both(model, prompts, config)
    assert torch.equal(found, expected)
    ended = [any(token in set(config.eos_token_id) for token in row[15:]) for row in found.tolist()]
    assert any(ended)


def test_models_that_are_fed_in_their_own_way_are_left_to_generate() -> None:
    class Other(LlamaForCausalLM):
        def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> Any:
            return super().prepare_inputs_for_generation(*args, **kwargs)

    config = LlamaConfig(**SIZES)
    assert can_decode(LlamaForCausalLM(config))
    assert not can_decode(Other(config))


def test_only_caches_that_are_kept_by_row_shrink() -> None:
    from transformers import DynamicCache, StaticCache

    config = LlamaConfig(**SIZES)
    assert can_shrink(DynamicCache(config=config))
    assert not can_shrink(StaticCache(config=config, max_cache_len=8))
    assert not can_shrink(None)
