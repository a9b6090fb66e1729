"""Some blocks only are computed again; gradients stay the same."""

import itertools

import pytest
import torch

from configs.schema import ModelConfig
from tasks.training.checkpointing import checkpoint_first_blocks
from tasks.training.loss import compute_token_losses
from tests.tasks.training.measuring import (
    build_model,
    count_saved_bytes,
    make_config,
    make_row,
    train_as_engine,
)

LORA = ModelConfig(lora_r=8)
FULL = ModelConfig(method="full")
LAYERS = 3


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_each_checkpointed_block_keeps_less(family: str) -> None:
    config = make_config(family, layers=LAYERS)
    kept = []
    for num_checkpointed in range(LAYERS + 1):
        net = build_model(config, FULL, "float32", checkpointing=True)
        checkpoint_first_blocks(net, num_checkpointed)
        kept.append(count_saved_bytes(net, make_row(), "float32"))
    steps = [before - after for before, after in itertools.pairwise(kept)]
    # The last one also frees what all blocks share, such as the rotary tables.
    assert min(steps) == pytest.approx(max(steps), rel=0.05)
    assert kept[0] == count_saved_bytes(build_model(config, FULL, "float32"), make_row(), "float32")


def test_gradients_stay_the_same() -> None:
    gradients = []
    for num_checkpointed in (0, 2, LAYERS):
        net = build_model(make_config("llama", layers=LAYERS), LORA, "float32", checkpointing=True)
        checkpoint_first_blocks(net, num_checkpointed)
        with train_as_engine(net, "float32", "varlen"):
            compute_token_losses(net, make_row()).sum().backward()
        found = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
        gradients.append(torch.cat(found))
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])
