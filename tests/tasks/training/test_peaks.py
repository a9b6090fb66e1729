"""Peaks are of known devices only; measured rates are positive and repeatable."""

import pytest

from tasks.training.peaks import PEAKS, find_peak_flops, measure_matmul_flops


def test_known_devices_have_the_peaks_of_their_datasheets() -> None:
    assert find_peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16") == 312e12
    assert find_peak_flops("NVIDIA A100-SXM4-80GB", "float32") == 19.5e12
    assert find_peak_flops("Tesla T4", "float16") == 65e12
    assert all(in_16_bits > in_float32 for in_16_bits, in_float32 in PEAKS.values())


@pytest.mark.parametrize(("name", "dtype"), [
    ("NVIDIA GeForce GTX 1080", "float16"),
    ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "bfloat16"),
    ("Tesla T4", "bfloat16"),
])  # fmt: skip
def test_an_unknown_peak_is_not_made_up(name: str, dtype: str) -> None:
    assert find_peak_flops(name, dtype) is None


def test_a_product_is_measured_here() -> None:
    rate = measure_matmul_flops((256, 256, 256), device="cpu", dtype="float32", seconds=0.05)
    assert 1e7 < rate < 1e13
