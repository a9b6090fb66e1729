"""What the processes of one training tell one another; in a single process, nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

# Gradients go together in messages of this size: small ones cost as much time each as large ones.
BUCKET_BYTES = 1 << 26
# The first rank may write a large checkpoint, or answer prompts, while the others wait.
PATIENCE = timedelta(hours=1)


def join_group(kind: str) -> None:
    """Join the processes of this training, as the variables of `torchrun` say.

    Args:
        kind: `cuda` or `cpu`, where they train.
    """
    distributed.init_process_group(name_backend(kind), timeout=PATIENCE)


def name_backend(kind: str) -> str:
    """Return torch's backends for a kind of device: small messages go through the processor."""
    return "cpu:gloo,cuda:nccl" if kind == "cuda" else "cpu:gloo"


def leave_group() -> None:
    """Leave the group that was joined."""
    distributed.destroy_process_group()


def count_ranks() -> int:
    """Return how many processes train together."""
    return int(distributed.get_world_size()) if _is_group() else 1


def find_rank() -> int:
    """Return the number of this process among them, from 0."""
    return int(distributed.get_rank()) if _is_group() else 0


def is_first() -> bool:
    """Tell whether this process writes and reports; it alone does."""
    return find_rank() == 0


def wait_for_all() -> None:
    """Wait until every process has come this far."""
    sum_over_ranks([0.0])


def is_any(flag: bool) -> bool:
    """Tell whether the flag is set in any process; all of them must ask."""
    return sum_over_ranks([float(flag)])[0] > 0


def sum_over_ranks(values: Sequence[float]) -> list[float]:
    """Return the sums over all processes, the same in each of them to the last digit.

    Args:
        values: Equally many in each process.
    """
    if not _is_group():
        return list(values)
    own = torch.tensor(values, dtype=torch.float64)
    found = [torch.empty_like(own) for _ in range(count_ranks())]
    distributed.all_gather(found, own)
    return [math.fsum(column) for column in zip(*(t.tolist() for t in found), strict=True)]


def combine_rates(own: dict[str, float]) -> dict[str, float]:
    """Return the rates of all processes together: their sum, or of utilisations the mean.

    >>> combine_rates({"tokens_per_second": 7.0, "mfu": 0.4})
    {'tokens_per_second': 7.0, 'mfu': 0.4}
    """
    sums = zip(own, sum_over_ranks(list(own.values())), strict=True)
    return {n: v / count_ranks() if n.startswith(("mfu", "hfu")) else v for n, v in sums}


def share_parameters(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the first one's values."""
    if not _is_group():
        return
    for parameter in parameters:
        distributed.broadcast(parameter.data, src=0)


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes.

    The losses of a step's rows add up to its mean loss, so their gradients do as well. A process
    whose rows were all empty has none; what has none anywhere keeps none, as in a single process.
    """
    if not _is_group():
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    has_gradient = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32)
    distributed.all_reduce(has_gradient)
    used = [p for p, count in zip(trained, has_gradient.tolist(), strict=True) if count]
    for bucket in _fill_buckets(used):
        gradients = [_provide_gradient(parameter) for parameter in bucket]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        pieces = flat.split([gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))


def _provide_gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _fill_buckets(parameters: Iterable[torch.nn.Parameter]) -> Iterator[list[Any]]:
    """Yield runs of parameters of one precision, in order, of about `BUCKET_BYTES`."""
    bucket: list[Any] = []
    size = 0
    for parameter in parameters:
        if bucket and (size >= BUCKET_BYTES or bucket[-1].dtype != parameter.dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel() * parameter.element_size()
    if bucket:
        yield bucket


def _is_group() -> bool:
    """Tell whether this process has joined others."""
    return bool(distributed.is_available() and distributed.is_initialized())
