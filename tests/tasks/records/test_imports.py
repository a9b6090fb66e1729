"""What is left out of imports is left out there alone."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tasks.records.imports import leave_out


def test_a_package_is_left_out_inside_the_block_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("left_out_a", "left_out_b"):
        (tmp_path / f"{name}.py").write_text("VALUE = 1")
    monkeypatch.syspath_prepend(tmp_path)
    there = importlib.import_module("left_out_b")
    with leave_out("left_out_a", "left_out_b"):
        assert importlib.util.find_spec("left_out_a") is None
        with pytest.raises(ImportError):
            importlib.import_module("left_out_a")
        assert importlib.import_module("left_out_b") is there
    assert importlib.import_module("left_out_a").VALUE == 1
    assert sys.modules["left_out_b"] is there
