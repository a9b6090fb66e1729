"""The formulas against torch's counter, which counts attention as if it were not causal."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from configs.schema import ModelConfig
from tasks.training.flops import FlopRates, Work, count_rates, count_work
from tasks.training.shapes import read_shape
from tests.tasks.training.measuring import TOKENS, build_model, make_config, make_row

pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out")
LORA = ModelConfig(lora_r=8)
FULL = ModelConfig(method="full")
ROW = make_row(num_examples=1)
WORK = count_work([TOKENS], sum(ROW.num_trained))


def count_with_torch(net: Any) -> int:
    """Return the operations of one forward and backward pass on one document.

    The embeddings ask for gradients: a first block without them does less than the others.
    """
    net.get_input_embeddings().register_forward_hook(lambda _, __, out: out.requires_grad_())
    counter = FlopCounterMode(display=False)
    with counter:
        logits = net(
            input_ids=torch.zeros(1, TOKENS, dtype=torch.long),
            logits_to_keep=torch.zeros(WORK.trained_tokens, dtype=torch.long),
            use_cache=False,
        ).logits
        logits.float().logsumexp(-1).sum().backward()
    return counter.get_total_flops()


def count_here(rates: FlopRates, *, hardware: bool = False) -> int:
    """Return what the formulas give with attention counted in full, as torch counts it."""
    full_attention = Work(WORK.tokens, WORK.trained_tokens, 2 * WORK.squared_tokens)
    return rates.count_hardware(full_attention) if hardware else rates.count_model(full_attention)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("model", [LORA, FULL], ids=["lora", "full"])
def test_formulas_agree_with_torch(family: str, model: ModelConfig) -> None:
    config = make_config(family)
    config._attn_implementation = "eager"
    expected = count_with_torch(build_model(config, model, "float32"))
    rates = count_rates(read_shape(config.to_dict()), model)
    assert count_here(rates) == pytest.approx(expected, rel=1e-9)


def test_adapters_cost_two_thirds_of_full_training() -> None:
    shape = read_shape(make_config("llama").to_dict())
    lora, full = count_rates(shape, LORA), count_rates(shape, FULL)
    assert lora.trained_token == pytest.approx(full.trained_token * 2 / 3)
    assert lora.squared_token == full.squared_token
    adapters = 6 * 2 * 8 * sum(x.inputs + x.outputs for x in shape.linear_layers)
    assert lora.token - adapters == pytest.approx(full.token * 2 / 3)


def test_recomputing_counts_for_the_device_only() -> None:
    shape = read_shape(make_config("llama").to_dict())
    none = count_rates(shape, LORA)
    some, every = (count_rates(shape, LORA, num_checkpointed=n) for n in (1, 2))
    assert {r.count_model(WORK) for r in (none, some, every)} == {none.count_hardware(WORK)}
    again = every.count_hardware(WORK) - none.count_hardware(WORK)
    assert some.count_hardware(WORK) - none.count_hardware(WORK) == again / 2


def test_recomputing_agrees_with_torch() -> None:
    """The formula runs the whole block again; torch stops short of its last product."""
    config = make_config("llama")
    config._attn_implementation = "eager"
    expected = count_with_torch(build_model(config, FULL, "float32", checkpointing=True))
    shape = read_shape(config.to_dict())
    rates = count_rates(shape, FULL, num_checkpointed=2)
    last_product = 2 * shape.linear_layers[-1].num_weights * TOKENS
    assert count_here(rates, hardware=True) - 2 * last_product == expected


def test_prompts_pass_through_the_head_only_when_asked_to() -> None:
    shape = read_shape(make_config("llama").to_dict())
    lean, whole = (count_rates(shape, LORA, trained_only=flag) for flag in (True, False))
    untrained = WORK.tokens - WORK.trained_tokens
    saved = whole.count_model(WORK) - lean.count_model(WORK)
    assert saved == 4 * shape.num_head_parameters * untrained


def test_documents_cost_less_attention_than_one_long_one() -> None:
    assert count_work([64] * 4, 8).squared_tokens * 4 == count_work([256], 8).squared_tokens
    assert count_work([3], 1) + count_work([4], 2) == count_work([3, 4], 3)
