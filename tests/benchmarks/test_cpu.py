"""The training benchmark on the processor: arms that compute the same loss, and honest ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import cpu, cpu_arms
from benchmarks.cpu import compare_times, find_llamafactory, make_task, measure
from benchmarks.training_rows import format_rows

LENGTH = 96  # the longest example has 77 tokens


def test_all_arms_have_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_arms, "PADDED_LENGTH", LENGTH)
    monkeypatch.setattr(cpu, "PADDED_LENGTH", LENGTH)
    monkeypatch.setattr(cpu, "FIRST_STEPS", 2)
    result = measure(10, 1, {"llamafactory"}, tmp_path)
    assert set(result["losses"]) == {"native", "trl", "trl_tuned", "pad_512"}
    for arm in result["losses"].values():
        assert arm["same_first_step"]
        assert arm["largest_difference"] < 1e-4
        assert arm["last"] < arm["first"]
    assert set(result["ratios"]) == {"trl", "trl_tuned", "llamafactory", "pad_512"}
    assert result["ratios"]["llamafactory"] is None
    assert result["llamafactory_left_out"] == "left out by --without"
    assert all(result["ratios"][name] > 0 for name in ("trl", "trl_tuned", "pad_512"))


def test_others_are_given_the_examples_of_each_step_in_order(tmp_path: Path) -> None:
    task = make_task(tmp_path, format_rows(tmp_path, LENGTH), 5)
    rows, size = task.rows, task.plan.examples_per_step
    assert len(rows) == 5 * size
    for step in range(1, 6):
        expected = task.split.dataset.select(task.plan.find_examples(step))["input_ids"]
        found = rows.select(range((step - 1) * size, step * size))["input_ids"]
        assert list(found) == list(expected)
    with pytest.raises(AssertionError, match="short"):  # the last step of an epoch
        _ = make_task(tmp_path, tmp_path / "formatted", task.plan.steps_per_epoch).rows


def test_a_ratio_is_our_time_by_theirs_in_the_same_turn() -> None:
    def turns(*seconds: float) -> list[dict[str, Any]]:
        return [{"seconds": 2 * value, "processor_seconds": value} for value in seconds]

    found = compare_times({"native": turns(1, 4, 2), "trl": turns(4, 8, 5)})
    assert found["ratios"] == {
        "trl": 0.4, "trl_tuned": None, "llamafactory": None, "pad_512": None,
    }  # fmt: skip
    assert found["wall_ratios"]["trl"] == 0.4
    assert found["processor_seconds"]["native"] == [1, 4, 2]


def test_llamafactory_that_is_not_there_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_LLAMAFACTORY", str(tmp_path))
    python, reason = find_llamafactory(set())
    assert python is None
    assert reason is not None
    assert "HONE_LLAMAFACTORY" in reason
