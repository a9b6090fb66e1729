from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.formatting.inspection.length_plot import (
    NUM_BINS,
    bin_lengths,
    choose_edges,
    choose_step,
    draw_lengths,
    draw_text_histogram,
)

LENGTHS = st.lists(st.integers(0, 10**6), min_size=1, max_size=200)


@given(LENGTHS)
def test_every_length_is_in_one_bin(lengths: list[int]) -> None:
    bins = bin_lengths(np.array(lengths))
    assert sum(found.count for found in bins) == len(lengths)
    assert len(bins) <= NUM_BINS
    assert bins[0].low == 0
    assert all(first.high == second.low for first, second in itertools.pairwise(bins))
    for found in bins:
        assert found.count == sum(found.low <= length < found.high for length in lengths)


@given(st.floats(0, 10**9), st.integers(1, 100))
def test_a_step_is_the_least_round_one(reach: float, num_bins: int) -> None:
    step = choose_step(reach, num_bins)
    assert step * num_bins > reach
    assert str(step).rstrip("0") in {"1", "2", "5"}
    smaller = {"1": step // 2, "2": step // 2, "5": step // 5 * 2}[str(step).rstrip("0")]
    assert step == 1 or smaller * num_bins <= reach


@given(LENGTHS)
def test_the_bars_reach_all_but_far_outliers(lengths: list[int]) -> None:
    edges = choose_edges([np.array(lengths)])
    assert edges[0] == 0
    assert edges[-1] > min(max(lengths), np.percentile(lengths, 99))
    assert len(edges) <= 45


def test_a_text_histogram_shows_every_bin_with_rows() -> None:
    text = draw_text_histogram(bin_lengths(np.array([1] * 1000 + [2] * 30 + [99])), width=10)
    lines = text.splitlines()
    assert lines[:3] == [
        "  1-1 ██████████ 1,000",
        "  2-2 █          30",
        "  3-3            0",
    ]
    assert lines[-1] == "11-99 █          1"
    assert len(lines) == NUM_BINS - 1
    assert draw_text_histogram(()) == ""


def test_the_same_lengths_give_the_same_picture(tmp_path: Path) -> None:
    lengths = {"train": np.arange(200), "test": np.array([3, 5000])}
    for name in ("a", "b"):
        draw_lengths(tmp_path / f"{name}.png", lengths, max_length=150)
    picture = (tmp_path / "a.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert picture == (tmp_path / "b.png").read_bytes()
    draw_lengths(tmp_path / "c.png", {"train": np.arange(100)}, max_length=None)
    assert picture != (tmp_path / "c.png").read_bytes()
