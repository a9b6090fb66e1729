from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.records import leases
from tasks.records.leases import find_oldest_lease, is_locked, take_lease
from tasks.records.locks import hold_lock
from tests.flows.running import ROOT, make_environment

HOLD = """
import sys
from tasks.records.leases import take_lease
take_lease()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_OWN", {})


def test_a_lease_lasts_as_long_as_its_process(home: Path) -> None:
    assert find_oldest_lease() is None
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=ROOT, env=make_environment(home),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        since = find_oldest_lease()
        assert since is not None
        [file] = (home / "cache" / ".leases").iterdir()
        assert file.name.startswith(f"{since:.3f}-{process.pid}-")
        process.kill()
    assert find_oldest_lease() is None
    assert list((home / "cache" / ".leases").iterdir()) == []


def test_ones_own_lease_is_no_hindrance(home: Path) -> None:
    take_lease()
    take_lease()
    assert len(list((home / "cache" / ".leases").iterdir())) == 1
    assert find_oldest_lease() is None


def test_to_look_at_a_lock_changes_nothing(home: Path) -> None:
    assert not is_locked(home / "never.lock")
    with hold_lock(home / "some.lock", "a test"):
        os.utime(home / "some.lock", (1, 1))
        assert is_locked(home / "some.lock")
    assert not is_locked(home / "some.lock")
    assert (home / "some.lock").stat().st_mtime == 1
    assert not (home / "never.lock").exists()
