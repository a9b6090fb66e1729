"""The child process: what it is given, how it ends, what its failures are called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from configs.errors import RequestError, RunError
from tasks.training.devices import Device
from tasks.training.engines.llamafactory import process
from tasks.training.engines.llamafactory.process import (
    explain_failure,
    make_environment,
    run_child,
)

CPU = Device(kind="cpu", name="cpu", memory_bytes=1, has_bfloat16=False)


def run_code(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch, grace: float = 5) -> int:
    """Run a program in the place of the child; return how often it was looked at."""
    child = folder / "child.py"
    child.write_text(code)
    monkeypatch.setattr(process, "CHILD", child)
    settings = folder / "train.yaml"
    settings.write_text("")
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise KeyboardInterrupt

    run_child(
        Path(sys.executable), settings, folder / "logs" / "log",
        device=CPU, is_local=True, grace_seconds=grace, look=look,
    )  # fmt: skip
    return looks


def test_it_is_looked_at_a_last_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_code(tmp_path, "print('done')", monkeypatch) >= 1
    assert (tmp_path / "logs" / "log").read_text() == "done\n"


def test_failure_says_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="ended with code 1") as caught:
        run_code(tmp_path, "raise MemoryError('too big')", monkeypatch)
    assert caught.value.problems[-1] == "MemoryError: too big"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("signal.signal(15, lambda *_: (print('saved'), sys.exit(143)))", "saved"),
        ("signal.signal(15, signal.SIG_IGN)", ""),
    ],
)
def test_told_to_end_it_may_save(
    code: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import signal, sys, time\n{code}\nwhile True: time.sleep(0.05)\n"
    with pytest.raises(KeyboardInterrupt):
        run_code(tmp_path, code, monkeypatch, grace=0.5 if not expected else 5)
    assert (tmp_path / "logs" / "log").read_text().strip() == expected


def test_only_this_attempt_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("in get_train_args\nValueError: old\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.write("OSError: No space left on device\n")
    error = explain_failure(-9, log, start)
    assert isinstance(error, RunError)
    assert error.problems == ("OSError: No space left on device",)
    assert "killed by signal 9" in str(error)


def test_refused_arguments_are_a_request(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("  File x, line 1, in get_train_args\nValueError: Cannot use LoRA with BAdam\n")
    error = explain_failure(1, log, 0)
    assert isinstance(error, RequestError)
    assert "Cannot use LoRA with BAdam" in str(error)


def test_it_sees_one_device_and_no_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    monkeypatch.setenv("ALLOW_EXTRA_ARGS", "1")
    cuda = Device(kind="cuda", name="H200", memory_bytes=1, has_bfloat16=True)
    assert make_environment(cuda, is_local=True)["CUDA_VISIBLE_DEVICES"] == "3"
    found = make_environment(CPU, is_local=True)
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    assert found["HF_HUB_OFFLINE"] == "1"
    assert "ALLOW_EXTRA_ARGS" not in found
