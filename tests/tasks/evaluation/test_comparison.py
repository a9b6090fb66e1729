"""Several configurations side by side: intervals, table, plot."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tasks.evaluation.arm_plots import list_panels, plot_arms
from tasks.evaluation.comparison import (
    ComparedArm,
    Comparison,
    bound_arms,
    list_cells,
    list_columns,
    name_loss_unit,
    render_arms,
)
from tests.tasks.evaluation.rows import make_rows

ARM = ComparedArm(
    name="a", method="lora", memory_bytes=2 * 10**9, memory_source="measured",
    tokens_per_second=1234.0, training_seconds=60.0, num_trainable_parameters=10, model_bytes=40,
    loss=0.5, perplexity=math.exp(0.5), exact_match=0.5, run_dir="outputs/comparisons/c/a",
    reused=(),
)  # fmt: skip
UNKNOWN = ARM.model_copy(
    update={
        "name": "b", "memory_bytes": None, "memory_source": "unknown", "tokens_per_second": None,
        "exact_match": None,
    }
)  # fmt: skip
ROWS = make_rows([0.0, 1.0] * 4)


def compare(*arms: ComparedArm) -> Comparison:
    return Comparison(
        name="c", path="outputs/comparisons/c", split="dev", rows=8, loss_unit="nats per token",
        arms=arms, plot="outputs/comparisons/c/comparison.png",
    )  # fmt: skip


def test_losses_across_tokenizers_are_counted_in_bits_a_byte() -> None:
    nats = bound_arms({"a": ROWS}, same_tokenizer=True)["a"]["nll"].value
    bits = bound_arms({"a": ROWS}, same_tokenizer=False)["a"]["nll"].value
    tokens, size = sum(row.num_tokens for row in ROWS), sum(row.num_bytes for row in ROWS)
    assert bits == pytest.approx(nats * tokens / math.log(2) / size)
    assert name_loss_unit(same_tokenizer=False) == "bits per byte"


def test_what_is_not_known_stays_empty() -> None:
    cells = dict(zip(list_columns(compare(UNKNOWN)), list_cells(UNKNOWN), strict=True))
    assert [name for name, text in cells.items() if not text] == [
        "memory (GB)", "training (tokens/s)", "exact match",
    ]  # fmt: skip
    assert list_cells(ARM)[2] == "2.00 (measured)"


def test_the_page_has_a_line_for_each_arm_and_its_intervals() -> None:
    bounds = bound_arms({"a": ROWS, "b": ROWS}, same_tokenizer=True)
    text = render_arms(compare(ARM, UNKNOWN), bounds, "comparison.png")
    assert "| a | lora | 2.00 (measured) | 1,234 | 60 | 0.5000 | 1.649 | 0.5000 |" in text
    assert "| exact_match | 0.500 (" in text
    assert "has not read" in text


def test_the_plot_has_a_panel_for_what_is_known_and_follows_from_its_content(
    tmp_path: Path,
) -> None:
    bounds = bound_arms({"a": ROWS, "b": ROWS}, same_tokenizer=True)
    titles = [panel.title for panel in list_panels(compare(ARM, UNKNOWN), bounds)]
    assert titles == ["exact match", "loss", "perplexity", "training", "memory"]
    bare = [panel.title for panel in list_panels(compare(UNKNOWN), bounds)]
    assert bare == ["loss", "perplexity"]
    for name in ("first.png", "second.png"):
        plot_arms(tmp_path / name, compare(ARM, UNKNOWN), bounds)
    first, second = ((tmp_path / n).read_bytes() for n in ("first.png", "second.png"))
    assert first == second
    assert first[:4] == b"\x89PNG"
