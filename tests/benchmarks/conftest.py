"""Lets tests import the benchmarks, which are scripts of the clone and not installed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))


@pytest.fixture(autouse=True)
def _leave_as_it_was() -> Iterator[None]:
    """One thread, and no base model kept for the next test."""
    import torch

    from tasks.training.shared_base import release_base

    torch.set_num_threads(1)
    yield
    release_base()
    torch.compiler.reset()
