"""What this machine computes on, found without importing torch, and the dtype that fits it."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from uuid import UUID

from configs.errors import RequestError

# Numbers of the CUDA driver API (CUdevice_attribute).
COMPUTE_CAPABILITY_MAJOR = 75
FIRST_MAJOR_WITH_BFLOAT16 = 8  # Ampere
NAME_BYTES = 256
UUID_BYTES = 16
CGROUP = Path("/sys/fs/cgroup")


class _MonitoredMemory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


@dataclass(frozen=True)
class Device:
    """What the models run on.

    Attributes:
        kind: `cuda`, `mps` or `cpu`.
        name: The product's name.
        memory_bytes: Memory of the device; of the machine for `cpu` and `mps`.
        has_bfloat16: Whether matrix products in bfloat16 run in hardware.
    """

    kind: Literal["cuda", "mps", "cpu"]
    name: str
    memory_bytes: int
    has_bfloat16: bool


@cache
def detect_device() -> Device:
    """Return the device that training and evaluation use: the first GPU, else the processor.

    The driver is asked directly, because importing torch takes seconds and a run that is answered
    from the cache needs none. `CUDA_VISIBLE_DEVICES` is respected by the driver.
    """
    if _is_torch_built_with_cuda() and (gpu := _ask_cuda_driver()):
        return gpu
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = platform.machine()
    if platform.system() == "Darwin" and machine == "arm64":
        return Device("mps", "Apple GPU", memory_bytes, has_bfloat16=False)
    return Device("cpu", platform.processor() or machine, memory_bytes, has_bfloat16=False)


def find_free_memory(device: Device) -> int:
    """Return the memory of a device that nothing uses now, in bytes.

    The driver's monitor is asked, because a context of our own would take some of it; where it
    does not answer, all of the device's memory is taken for free.
    """
    if device.kind == "cuda":
        free = _ask_cuda_monitor()
        return device.memory_bytes if free is None else min(free, device.memory_bytes)
    import psutil

    free = int(psutil.virtual_memory().available)
    return min(free, _find_container_memory() or free)


def resolve_dtype(dtype: str, device: Device) -> str:
    """Return the precision of the base weights on a device.

    Args:
        dtype: `auto`, `float32`, `bfloat16` or `float16`, as configured.
        device: Where the model runs.

    Raises:
        RequestError: The device cannot compute in the configured precision.

    >>> resolve_dtype("auto", Device("cpu", "x86_64", 2**34, has_bfloat16=False))
    'float32'
    >>> resolve_dtype("auto", Device("cuda", "NVIDIA H200", 2**37, has_bfloat16=True))
    'bfloat16'
    """
    if dtype == "auto":
        return "bfloat16" if device.has_bfloat16 else "float32"
    if device.kind == "cuda" and dtype == "bfloat16" and not device.has_bfloat16:
        raise RequestError(
            where="model.dtype",
            message=f"{device.name} does not compute in bfloat16",
            allowed="auto, float32, float16",
            hint="set model.dtype=float16, or auto for float32",
        )
    if device.kind != "cuda" and dtype == "float16":
        raise RequestError(
            where="model.dtype",
            message=f"float16 needs the loss scaling of a CUDA device; found {device.kind}",
            allowed="auto, float32, bfloat16",
        )
    return dtype


def _find_container_memory() -> int | None:
    """Return what a container's limit leaves, or None without one."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return max(0, int(limit) - used) if limit.isdigit() else None


def _is_torch_built_with_cuda() -> bool:
    """Tell whether the installed torch has CUDA, by its files: the driver alone is no use."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    return (Path(spec.origin).parent / "lib" / "libtorch_cuda.so").exists()


def count_gpus() -> int:
    """Return how many devices the CUDA driver shows."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    is_away = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if is_away else count.value


def _ask_cuda_driver() -> Device | None:
    """Return the first device that the CUDA driver shows, or None when there is no driver."""
    if count_gpus() == 0:
        return None
    driver = ctypes.CDLL("libcuda.so.1")
    device, major = ctypes.c_int(), ctypes.c_int()
    memory = ctypes.c_size_t()
    name = ctypes.create_string_buffer(NAME_BYTES)
    failures = (
        driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetName(name, NAME_BYTES, device)
        or driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        or driver.cuDeviceGetAttribute(ctypes.byref(major), COMPUTE_CAPABILITY_MAJOR, device)
    )
    if failures:
        return None
    has_bfloat16 = major.value >= FIRST_MAJOR_WITH_BFLOAT16
    return Device("cuda", name.value.decode(), memory.value, has_bfloat16)


def _ask_cuda_monitor() -> int | None:
    """Return the free memory of the first device that the driver shows, or None."""
    try:
        driver, monitor = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    device, uuid = ctypes.c_int(), (ctypes.c_ubyte * UUID_BYTES)()
    handle, memory = ctypes.c_void_p(), _MonitoredMemory()
    if (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetUuid(uuid, device)
        or monitor.nvmlInit_v2()
    ):
        return None
    name = f"GPU-{UUID(bytes=bytes(uuid))}".encode()
    failures = monitor.nvmlDeviceGetHandleByUUID(
        name, ctypes.byref(handle)
    ) or monitor.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    monitor.nvmlShutdown()
    return None if failures else int(memory.free)
