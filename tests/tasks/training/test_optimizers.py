"""An optimiser's state is counted as torch makes it; every name of transformers is answered."""

import pytest
import torch
from transformers.training_args import OptimizerNames

from tasks.training.optimizers import find_optimizer_cost

COUNT = 4096


@pytest.mark.parametrize(("name", "kind"), [
    ("adamw_torch_fused", torch.optim.AdamW),
    ("rmsprop", torch.optim.RMSprop),
    ("adagrad", torch.optim.Adagrad),
    ("sgd", torch.optim.SGD),
    ("adafactor", torch.optim.Adafactor),
])  # fmt: skip
def test_state_is_what_torch_keeps(name: str, kind: type[torch.optim.Optimizer]) -> None:
    parameter = torch.nn.Parameter(torch.ones(64, COUNT // 64))
    optimizer = kind([parameter], lr=0.1)  # type: ignore[call-arg]
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    kept = sum(
        value.nbytes
        for value in optimizer.state[parameter].values()
        if isinstance(value, torch.Tensor)
    )
    expected = find_optimizer_cost(name).state_bytes * COUNT
    assert kept == pytest.approx(expected, abs=0.04 * 4 * COUNT)


def test_every_optimiser_is_counted_or_said_to_be_unknown() -> None:
    costs = {name.value: find_optimizer_cost(name.value) for name in OptimizerNames}
    assert all(cost.state_bytes >= 0 for cost in costs.values())
    assert not costs["galore_adamw"].is_known
    assert costs["galore_adamw"].state_bytes == costs["adamw_torch"].state_bytes
    assert costs["paged_lion_8bit"].is_paged
    assert costs["adamw_bnb_8bit"] == costs["adamw_8bit"]
