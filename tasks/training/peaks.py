"""What a device can compute at most: by its datasheet, or as measured here.

Dense products in 16 bits with sums in float32, without sparsity, in units of 1e12 operations a
second. Sources: NVIDIA's datasheets of the A100, A30, A40, L4, L40, L40S, T4, V100, H100 (SXM5,
PCIe, NVL), H200 (SXM, NVL), GH200 and B200, and its architecture whitepapers of GA102 (RTX 3090,
A6000), AD102 (RTX 4090, RTX 6000 Ada) and GB202 (RTX 5090). Datasheets that state sparse rates are
halved.
"""

from __future__ import annotations

import time
from typing import Any

TERA = 10**12
# Between a GPU and the processor: a PCIe 4.0 link with 16 lanes, of 32e9 by its specification.
LINK_BYTES_PER_SECOND = 25e9
# By the name that the driver gives, in 16 bits and in float32 without tensor cores. A part of a
# device (MIG) has a name of its own and is not listed.
PEAKS: dict[str, tuple[float, float]] = {
    "NVIDIA B200": (2250, 75),
    "NVIDIA GH200 480GB": (989.4, 67),
    "NVIDIA H200": (989.4, 67),
    "NVIDIA H200 NVL": (835.5, 60),
    "NVIDIA H100 80GB HBM3": (989.4, 67),
    "NVIDIA H100 PCIe": (756, 51),
    "NVIDIA H100 NVL": (835.5, 60),
    "NVIDIA A100-SXM4-40GB": (312, 19.5),
    "NVIDIA A100-SXM4-80GB": (312, 19.5),
    "NVIDIA A100-PCIE-40GB": (312, 19.5),
    "NVIDIA A100 80GB PCIe": (312, 19.5),
    "NVIDIA A30": (165, 10.3),
    "NVIDIA A40": (149.7, 37.4),
    "NVIDIA L4": (121, 30.3),
    "NVIDIA L40": (181.05, 90.5),
    "NVIDIA L40S": (362.05, 91.6),
    "NVIDIA RTX A6000": (154.8, 38.7),
    "NVIDIA RTX 6000 Ada Generation": (364.2, 91.1),
    "NVIDIA GeForce RTX 3090": (71, 35.6),
    "NVIDIA GeForce RTX 4090": (165.2, 82.6),
    "NVIDIA GeForce RTX 5090": (209.5, 104.8),
    "Tesla T4": (65, 8.1),
    "Tesla V100-SXM2-16GB": (125, 15.7),
    "Tesla V100-SXM2-32GB": (125, 15.7),
}
WITHOUT_BFLOAT16 = ("Tesla",)


def find_peak_flops(name: str, dtype: str) -> float | None:
    """Return the datasheet's rate of a device in operations a second, or None where unknown.

    Args:
        name: The product's name as the driver gives it.
        dtype: `bfloat16`, `float16` or `float32`.

    >>> find_peak_flops("NVIDIA H200", "bfloat16") / 1e12
    989.4
    >>> find_peak_flops("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bfloat16") is None
    True
    """
    if name not in PEAKS or (dtype == "bfloat16" and name.startswith(WITHOUT_BFLOAT16)):
        return None
    in_16_bits, in_float32 = PEAKS[name]
    return TERA * (in_float32 if dtype == "float32" else in_16_bits)


def measure_matmul_flops(
    sizes: tuple[int, int, int], *, device: str, dtype: str, seconds: float = 0.3
) -> float:
    """Return the best rate of a matrix product on this machine, in operations a second.

    The best of many: what else the machine does makes single ones slower, never faster.

    Args:
        sizes: Rows, inner size and columns of the product.
        device: `cuda`, `mps` or `cpu`.
        dtype: `bfloat16`, `float16` or `float32`.
        seconds: How long to measure, after one product to warm up.
    """
    import torch

    rows, inner, columns = sizes
    kind: Any = getattr(torch, dtype)
    left = torch.ones(rows, inner, device=device, dtype=kind)
    right = torch.ones(inner, columns, device=device, dtype=kind)
    wait = getattr(getattr(torch, device), "synchronize", lambda: None)
    left @ right
    wait()
    durations: list[float] = []
    begin = time.perf_counter()
    while not durations or time.perf_counter() - begin < seconds:
        before = time.perf_counter()
        left @ right
        wait()
        durations.append(time.perf_counter() - before)
    return 2.0 * rows * inner * columns / min(durations)
