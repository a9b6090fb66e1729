"""A frozen base whose layers are spread over the devices of a training (FSDP2).

Each device keeps its part of every layer, and has a layer whole only while it computes with it. The
adapter is on every device; it alone has gradients, so a training differs in nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers.distributed.configuration_utils import DistributedConfig

from configs.errors import RequestError

LOG = logging.getLogger("hone")
WHERE = "training.fsdp"


def describe_shards(num_shards: int) -> DistributedConfig:
    """Return what has transformers read a model's weights in shards."""
    return DistributedConfig(fsdp_size=num_shards)


def is_sharded(model: Any) -> bool:
    """Tell whether some layers of a model are spread over the devices."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


@contextmanager
def explain_shards() -> Iterator[None]:
    """Turn transformers' refusal of a model into ours.

    Raises:
        RequestError: The model does not say how it is spread.
    """
    try:
        yield
    except ValueError as err:
        if "fsdp_plan" not in str(err):
            raise
        raise RequestError(
            where=WHERE,
            message="this model's class does not say how its layers are spread over devices",
            allowed="false for this model",
            hint="training.gradient_checkpointing=on or model.method=qlora need less memory",
        ) from err


def check_shards(model: Any) -> None:
    """Refuse a model that is not spread as it was asked for: it would fill every device.

    Raises:
        RequestError: A decoder block, or a frozen weight matrix, is whole on each device.
    """
    names = set(getattr(model, "_no_split_modules", None) or ())
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    # A module that is sharded gets a class of its own, which inherits from both.
    sharded = [
        module
        for module in model.modules()
        if isinstance(module, FSDPModule) and names & {c.__name__ for c in type(module).__mro__}
    ]
    whole = [name for name, p in model.named_parameters() if not isinstance(p.data, DTensor)]
    if (blocks and not sharded) or whole or not is_sharded(model):
        example = f", such as {whole[0]}" if whole else ""
        raise RequestError(
            where=WHERE,
            message=f"{len(sharded)} decoder blocks are spread over the devices, and {len(whole)} "
            f"parameters are whole on each{example}",
            allowed="false for this model",
        )
    LOG.info("FSDP2: %d decoder blocks are spread over the devices", len(sharded))
