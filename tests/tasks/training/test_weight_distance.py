from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tasks.training.weight_distance import measure_distance


def write(folder: Path, **tensors: torch.Tensor) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_the_distance_is_over_all_weights(tmp_path: Path) -> None:
    first = write(tmp_path / "a", x=torch.tensor([3.0, 0.0]), y=torch.tensor([4.0]))
    second = write(tmp_path / "b", x=torch.tensor([3.0, 0.3]), y=torch.tensor([4.4]))
    found = measure_distance(first, second)
    assert found is not None
    assert found.largest == pytest.approx(0.4, abs=1e-6)
    assert found.relative == pytest.approx(0.1, abs=1e-6)  # 0.5 of 5


def test_equal_weights_have_none(tmp_path: Path) -> None:
    first = write(tmp_path / "a", x=torch.ones(2, dtype=torch.bfloat16))
    found = measure_distance(first, write(tmp_path / "b", x=torch.ones(2, dtype=torch.bfloat16)))
    assert found is not None
    assert (found.largest, found.relative) == (0, 0)


def test_other_tensors_cannot_be_compared(tmp_path: Path) -> None:
    first = write(tmp_path / "a", x=torch.ones(2))
    assert measure_distance(first, write(tmp_path / "b", y=torch.ones(2))) is None
    assert measure_distance(first, write(tmp_path / "c", x=torch.ones(3))) is None
    assert measure_distance(first, tmp_path) is None
    assert measure_distance(tmp_path, first) is None
