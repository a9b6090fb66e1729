from __future__ import annotations

import time
from pathlib import Path

import pytest

from tasks.tracking.energy import measure_energy


def test_the_energy_of_a_block_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with measure_energy(is_measured=True) as energy:
        time.sleep(0.2)
    assert energy.kwh is not None
    assert 0 < energy.kwh < 0.01
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_measured_unasked() -> None:
    with measure_energy(is_measured=False) as energy:
        pass
    assert energy.kwh is None
