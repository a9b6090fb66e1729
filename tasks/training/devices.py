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

from configs.errors import RequestError

# Numbers of the CUDA driver API (CUdevice_attribute).
COMPUTE_CAPABILITY_MAJOR = 75
FIRST_MAJOR_WITH_BFLOAT16 = 8  # Ampere
NAME_BYTES = 256


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


def _is_torch_built_with_cuda() -> bool:
    """Tell whether the installed torch has CUDA, by its files: the driver alone is no use."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    return (Path(spec.origin).parent / "lib" / "libtorch_cuda.so").exists()


def _ask_cuda_driver() -> Device | None:
    """Return the first device that the CUDA driver shows, or None when there is no driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count, device, major = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    memory = ctypes.c_size_t()
    name = ctypes.create_string_buffer(NAME_BYTES)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return None
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
