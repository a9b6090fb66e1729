"""The small mode of the GPU benchmark: every arm, and checks that find what they look for."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_checks
from benchmarks.gpu import TimeIsOverError, add_shares, limit_seconds, main, measure
from benchmarks.gpu_arms import list_arms
from benchmarks.gpu_bench import ArmCutError, Bench, Clock, CountedCollator
from benchmarks.gpu_checks import check_losses
from benchmarks.gpu_setting import LOCATION, build_base, choose_setting, draw_documents
from tasks.training.collator import PackedRow, pack_row

SMALL = choose_setting(is_small=True)
TRAININGS = [name for name in list_arms(SMALL) if not name.startswith("decode")]
CHANGED = {
    "trl", "trl_packed", "padded", "padded_tuned", "native_compiled", "qlora", "checkpointing",
    "no_packing", "no_varlen", "all_logits", "whole_loss", "cast_inputs",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's compiler looks at it
def test_every_arm_trains_or_generates(tmp_path: Path) -> None:
    result = measure(SMALL, [], 300, tmp_path)
    assert result["left_out"] == []
    assert result["checks"]["is_right"]
    assert set(result["arms"]) == {"native", "decode_1", "decode_4", *CHANGED}
    for name in TRAININGS:
        arm = result["arms"][name]
        assert arm.get("timed_steps") == SMALL.steps, (name, arm)
        assert 0 < arm["tokens_per_second"] <= arm["padded_tokens_per_second"]
        assert "mfu" not in arm  # of a processor whose peak nobody knows
    arms = result["arms"]
    is_filled = {
        n for n in TRAININGS if arms[n]["tokens_per_second"] < arms[n]["padded_tokens_per_second"]
    }
    assert is_filled == {"trl", "padded", "padded_tuned", "native_compiled"}
    assert arms["decode_4"]["new_tokens"] == 4 * SMALL.new_tokens
    assert arms["all_logits"]["predicted_bytes"] > arms["native"]["predicted_bytes"]
    assert arms["checkpointing"]["predicted_bytes"] < arms["native"]["predicted_bytes"]


def test_one_arm_and_nothing_for_those_that_find_no_time(tmp_path: Path) -> None:
    result = measure(SMALL, ["native"], 300, tmp_path / "one")
    assert list(result["arms"]) == ["native"]
    assert result["documents"]["documents"] == 12
    late = measure(SMALL, [], 0, tmp_path / "none")
    assert late["arms"] == {}
    assert late["left_out"] == list(list_arms(SMALL))


def test_an_arm_that_fails_is_named_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no such optimiser")

    monkeypatch.setattr("benchmarks.gpu_arms._make_trainer", fail)
    arms = measure(SMALL, ["padded", "native"], 300, tmp_path)["arms"]
    assert arms["padded"] == {"error": "ValueError: no such optimiser"}
    assert arms["native"]["timed_steps"] == SMALL.steps


def test_the_checks_find_documents_that_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = draw_documents(SMALL)
    assert check_losses(SMALL, documents)["is_right"]

    def join(rows: list[Any]) -> PackedRow:
        row = pack_row(rows)
        length = row.input_ids.numel()
        bounds = torch.tensor([0, length], dtype=torch.int32)
        return replace(row, cu_seq_lens=bounds, max_length=length)

    monkeypatch.setattr(gpu_checks, "pack_row", join)
    found = check_losses(SMALL, documents)
    assert found["contamination"] > 0
    assert not found["is_right"]


def test_documents_are_drawn_by_their_seed() -> None:
    large = choose_setting(is_small=False)
    documents = draw_documents(large)
    assert documents == draw_documents(large)
    assert documents != draw_documents(large, seed=1)
    assert max(documents.lengths) <= large.longest
    found = documents.describe()
    assert 0.4 < found["trained_share"] < 0.6
    assert large.sizes.num_parameters == 8_030_261_248  # Llama-3-8B


def test_a_base_is_random_and_the_same_each_time() -> None:
    first, second = (build_base(SMALL, num_layers=1) for _ in range(2))
    assert first.name_or_path != LOCATION
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert first.lm_head.weight.std() > 0.01


def test_a_clock_leaves_out_the_warmup_and_cuts_what_takes_too_long() -> None:
    clock = Clock(replace(SMALL, warmup_steps=2, steps=3))
    for step in range(1, 6):
        clock.report_progress(step, 5, "step")
    assert list(clock.ends) == [2, 5]
    hurried = Clock(replace(SMALL, warmup_steps=1, steps=9, arm_seconds=0))
    hurried.report_progress(1, 10, "step")
    with pytest.raises(ArmCutError):
        hurried.report_progress(2, 10, "step")
    first, last, seconds = hurried.timed
    assert (first, last) == (1, 2)
    assert seconds > 0


def test_tokens_are_counted_with_and_without_padding() -> None:
    counted = CountedCollator(lambda examples: examples[0])
    ids = torch.ones(2, 5, dtype=torch.long)
    counted([{"input_ids": ids, "attention_mask": torch.tensor([[1] * 5, [1, 1, 0, 0, 0]])}])
    counted([{"input_ids": ids}])
    assert (counted.real, counted.padded) == ([7, 10], [10, 10])


def test_utilisation_and_the_error_of_the_memory_plan(tmp_path: Path) -> None:
    documents = draw_documents(SMALL)
    bench = Bench(SMALL, documents, tmp_path, None, tmp_path)  # type: ignore[arg-type]
    per_token = SMALL.rates.count_model(documents.work) / documents.work.tokens
    found = {"tokens_per_second": 10.0, "peak_bytes": 100, "predicted_bytes": 90}
    shares = add_shares(bench, found, {"datasheet": 100 * per_token, "matmul": None})
    assert shares["mfu"] == pytest.approx(0.1)
    assert shares["prediction_percent"] == pytest.approx(-10)
    assert "mfu_of_matmul" not in shares


def test_time_that_is_over_ends_a_block_and_nothing_after_it() -> None:
    with pytest.raises(TimeIsOverError), limit_seconds(0.01):
        time.sleep(60)
    with limit_seconds(0.01):
        pass
    time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "reason"), [([], "no GPU"), (["--small", "--only", "fast"], "no arm fast")]
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    if not arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr("sys.argv", ["gpu", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert reason in capsys.readouterr().err
