"""What a result was computed with, beside code and data: interpreter, packages, processor."""

from __future__ import annotations

import os
import platform
from importlib.metadata import distributions
from pathlib import Path

from tasks.records.handles import Record
from tasks.records.writing import read_json, write_json

FILE = "environment.json"
CPU_INFO = Path("/proc/cpuinfo")
VECTOR_UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")
"""Instruction sets for which kernels differ, and sum up in another order."""


class Environment(Record):
    """Where a training ran; nothing in it names the machine or its user."""

    python: str
    platform: str
    """Operating system, processor family and C library."""
    processor: str
    """The processor's product name."""
    vector_units: tuple[str, ...]
    threads: int
    """Threads of one operation on the processor."""
    device: str
    """`cuda`, `mps` or `cpu`."""
    device_name: str
    packages: dict[str, str]
    """Every installed distribution with its version."""


def describe_environment(device: str, device_name: str) -> Environment:
    """Return the environment of this process.

    Args:
        device: The kind of device that computes.
        device_name: Its product name.
    """
    processor, flags = _read_processor()
    return Environment(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=f"{platform.system()} {platform.machine()} {'-'.join(platform.libc_ver())}",
        processor=processor,
        vector_units=tuple(unit for unit in VECTOR_UNITS if unit in flags),
        threads=_count_threads(),
        device=device,
        device_name=processor if device == "cpu" else device_name,
        packages=list_packages(),
    )


def write_environment(entry: Path, device: str, device_name: str) -> None:
    """Keep the environment of this process beside what was computed in it."""
    write_json(entry / FILE, describe_environment(device, device_name).model_dump(mode="json"))


def read_environment(entry: Path) -> Environment | None:
    """Return where a result was computed; None where an older hone did not keep it."""
    file = entry / FILE
    return Environment.model_validate(read_json(file)) if file.is_file() else None


def list_packages() -> dict[str, str]:
    """Return every installed distribution with its version, sorted."""
    found = {dist.metadata["Name"]: dist.version for dist in distributions()}
    return {name: found[name] for name in sorted(found, key=str.lower)}


def list_differences(before: Environment, now: Environment) -> dict[str, tuple[str, str]]:
    """Return what differs between two environments: before and now, by name.

    Example:
        `{"packages.torch": ("2.13.0", "2.14.0")}`
    """
    names = [name for name in Environment.model_fields if name != "packages"]
    pairs = {name: (str(getattr(before, name)), str(getattr(now, name))) for name in names}
    for name in sorted(before.packages.keys() | now.packages.keys()):
        pair = (before.packages.get(name, "absent"), now.packages.get(name, "absent"))
        pairs[f"packages.{name}"] = pair
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _count_threads() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def _read_processor() -> tuple[str, frozenset[str]]:
    """Return the processor's name and its flags, as Linux lists them."""
    name, flags = platform.processor() or platform.machine(), ""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return name, frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in {"flags", "Features"}:
            flags = value
            break
    return name, frozenset(flags.split())
