"""The GPUs that the workers of this host may use, without importing torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from configs.errors import RunError

UUID = re.compile(r"\(UUID: (?P<uuid>(?P<kind>GPU|MIG)-[^)]+)\)")


def list_gpus() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES may name, one for each GPU; none on a machine without.

    CUDA_VISIBLE_DEVICES of this process is respected; else every GPU that the driver shows counts,
    a partitioned one (MIG) as its partitions.

    Raises:
        RunError: There is a driver, and it does not answer.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",") if name.strip()]
        return [] if names[:1] == ["-1"] else names
    if not shutil.which("nvidia-smi"):
        return []
    shown = subprocess.run(
        ["nvidia-smi", "-L"], check=False, capture_output=True, text=True, timeout=60
    )
    if shown.returncode:
        said = (shown.stdout + shown.stderr).strip()
        if "No devices were found" in said:
            return []
        raise RunError(
            message=f"nvidia-smi -L ended with {shown.returncode}: {said[-300:]}",
            hint="mend the driver, or set CUDA_VISIBLE_DEVICES= to work without GPUs",
        )
    return read_listing(shown.stdout)


def read_listing(text: str) -> list[str]:
    """Return the identifiers in what `nvidia-smi -L` prints.

    >>> read_listing('''GPU 0: NVIDIA A100 (UUID: GPU-a)
    ...   MIG 3g.20gb Device 0: (UUID: MIG-b)
    ...   MIG 3g.20gb Device 1: (UUID: MIG-c)
    ... GPU 1: NVIDIA A100 (UUID: GPU-d)''')
    ['MIG-b', 'MIG-c', 'GPU-d']
    """
    found: list[str] = []
    for match in UUID.finditer(text):
        # The partitions stand below their GPU, which can no longer be used whole.
        if match["kind"] == "MIG" and found and found[-1].startswith("GPU-"):
            found.pop()
        found.append(match["uuid"])
    return found
