from __future__ import annotations

import math

import pytest
import torch

from tasks.training.noise import add_noise, disturb_embeddings


@pytest.mark.parametrize("lengths", [(7,), (400, 25), (3, 500, 1)])
def test_noise_is_scaled_by_each_examples_own_length(lengths: tuple[int, ...]) -> None:
    width, alpha = 32, 5.0
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    torch.manual_seed(0)
    noise = disturb_embeddings(torch.zeros(1, sum(lengths), width), positions, alpha)
    for length, part in zip(lengths, noise[0].split(list(lengths)), strict=True):
        bound = alpha / math.sqrt(length * width)
        assert part.abs().max() <= bound
        assert part.abs().max() > 0.8 * bound
        assert abs(part.mean()) < 0.2 * bound


def test_noise_is_there_in_training_only() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(9, 4)

        def get_input_embeddings(self) -> torch.nn.Module:
            return self.embedding

        def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
            return self.embedding(input_ids)

    model, ids = Model(), torch.arange(5)[None]
    plain = model(ids, position_ids=ids)
    with add_noise(model, 3.0):
        assert not torch.equal(model.train()(ids, position_ids=ids), plain)
        assert torch.equal(model.eval()(ids, position_ids=ids), plain)
    assert torch.equal(model.train()(ids, position_ids=ids), plain)
    with add_noise(model, None):
        assert torch.equal(model(ids, position_ids=ids), plain)
