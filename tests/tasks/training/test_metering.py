"""Rates are those of the work over the time of training steps; nothing is made up."""

import time

import pytest

from configs.schema import ModelConfig, TrainingConfig
from tasks.training.collator import pack_row
from tasks.training.devices import Device
from tasks.training.flops import FlopRates, Work
from tasks.training.metering import Meter, build_meter, measure_row
from tests.tasks.training.measuring import make_config

WORK = Work(tokens=100, trained_tokens=40, squared_tokens=5000)
CPU = Device("cpu", "x86_64", 8 * 2**30, has_bfloat16=False)


def test_real_and_padded_tokens_are_told_apart() -> None:
    meter = Meter()
    meter.add(WORK, 128)
    time.sleep(0.01)
    meter.add(WORK, 128)
    found = meter.read()
    assert set(found) == {"tokens_per_second", "padded_tokens_per_second"}
    assert found["padded_tokens_per_second"] == pytest.approx(1.28 * found["tokens_per_second"])
    assert found["tokens_per_second"] == pytest.approx(200 / meter.seconds)


def test_utilisation_is_the_work_over_time_and_peak() -> None:
    rates = FlopRates(10, 5, 1, recomputed_token=3)
    meter = Meter(rates, peak_flops=1e6, matmul_flops=5e5)
    meter.add(WORK, 100)
    time.sleep(0.01)
    found = meter.read()
    needed = 10 * 100 + 5 * 40 + 5000
    assert found["mfu"] == pytest.approx(needed / meter.seconds / 1e6)
    assert found["hfu"] == pytest.approx((needed + 300) / meter.seconds / 1e6)
    assert found["mfu_of_matmul"] == pytest.approx(2 * found["mfu"])


def test_time_between_pause_and_the_next_row_is_left_out() -> None:
    meter = Meter()
    meter.add(WORK, 100)
    meter.read()
    before = meter.seconds
    meter.pause()
    time.sleep(0.05)
    meter.add(WORK, 100)
    meter.read()
    assert meter.seconds < before + 0.05


def test_a_row_is_measured_without_what_fills_it_up() -> None:
    examples = [([5, 6, 7], [-100, 6, 7]), ([8, 9], [-100, 9])]
    expected = Work(tokens=5, trained_tokens=3, squared_tokens=13)
    assert measure_row(pack_row(examples)) == expected
    assert measure_row(pack_row(examples, pad_to=16)) == expected
    assert measure_row(pack_row([])) == Work(0, 0, 0)


def test_a_processor_and_an_unknown_model_have_no_utilisation() -> None:
    for config in (make_config("llama").to_dict(), {"d_model": 4}):
        meter = build_meter(config, ModelConfig(), TrainingConfig(), CPU, "float32")
        meter.add(WORK, 100)
        assert "mfu" not in meter.read()
