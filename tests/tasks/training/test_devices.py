"""Devices are found without torch; a precision that a device lacks is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.training import devices
from tasks.training.devices import Device, detect_device, find_free_memory, resolve_dtype

OLD_GPU = Device("cuda", "Tesla T4", 16 * 2**30, has_bfloat16=False)
GPU = Device("cuda", "NVIDIA H200", 139 * 2**30, has_bfloat16=True)
CPU = Device("cpu", "x86_64", 8 * 2**30, has_bfloat16=False)


def test_detection_imports_no_torch() -> None:
    code = (
        "import sys; from tasks.training.devices import detect_device, resolve_dtype;"
        "import tasks.training.fitting, tasks.training.suggestions, tasks.training.costs;"
        "import tasks.training.memory, tasks.training.plan;"
        "resolve_dtype('auto', detect_device());"
        "print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_detected_device_agrees_with_torch() -> None:
    import torch

    device = detect_device()
    assert (device.kind == "cuda") == torch.cuda.is_available()
    assert device.memory_bytes > 2**28


def test_auto_takes_bfloat16_only_where_it_is_fast() -> None:
    assert [resolve_dtype("auto", d) for d in (GPU, OLD_GPU, CPU)] == [
        "bfloat16",
        "float32",
        "float32",
    ]
    assert resolve_dtype("bfloat16", CPU) == "bfloat16"


@pytest.mark.parametrize(("dtype", "device"), [("bfloat16", OLD_GPU), ("float16", CPU)])
def test_precision_that_the_device_lacks_is_refused(dtype: str, device: Device) -> None:
    with pytest.raises(RequestError, match=r"model.dtype"):
        resolve_dtype(dtype, device)


def test_free_memory_is_part_of_the_machine() -> None:
    device = detect_device()
    assert 0 < find_free_memory(device) <= device.memory_bytes


def test_a_gpu_without_a_monitor_is_taken_to_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(devices.ctypes, "CDLL", refuse)
    assert find_free_memory(GPU) == GPU.memory_bytes


def test_a_container_limits_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "CGROUP", tmp_path)
    unlimited = find_free_memory(CPU)
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.max").write_text("10000\n")
    assert find_free_memory(CPU) == 7000 < unlimited
    (tmp_path / "memory.max").write_text("max\n")
    assert find_free_memory(CPU) > 7000
