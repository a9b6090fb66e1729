"""`hone plan` says what a training takes, what it rests on, and what would make it fit."""

import json
from typing import Any

import pytest

from flows.commands.plan import describe, describe_time, show
from tasks.plan import Plan, PlannedTraining

TRAINING: dict[str, Any] = {
    "model_bytes": 167_772_160,
    "memory_parts": {"frozen weights": 16 * 2**30, "logits": 2**30, "workspace": 0},
    "row_tokens": 4096,
    "rows_per_step": 7,
    "num_layers": 32,
    "num_checkpointed_layers": 20,
    "changes": [],
    "tokens": 8_094_600,
    "trained_tokens": 1_200_000,
    "flops": 239_789_404_481_126_400,
    "hardware_flops": 300_000_000_000_000_000,
    "device_flops": 989.4e12,
    "device_flops_source": "datasheet of the NVIDIA H200",
    "assumed_mfu": 0.4,
    "hours": 3.25,
    "money": 11.375,
}
CHANGE = {
    "settings": ["model.method=qlora"],
    "total_bytes": 12 * 2**30,
    "fits": True,
    "cost": "the base is rounded to 4 bits",
}


def make_plan(**fields: Any) -> Plan:
    counts = {"read": 2, "kept": 2, "invalid": 0, "filtered": 0, "cut": 0}
    return Plan.model_validate(
        {
            "data_commit": "c" * 64, "base": "models/tiny", "base_revision": "r" * 40,
            "rows": counts, "reasons": {}, "splits": {}, "examples_per_step": 16, "steps": 4,
            "steps_per_epoch": 2, "device": "cuda: NVIDIA H200", "device_memory_bytes": 2**37,
            "free_memory_bytes": 2**36, "num_parameters": 8_030_000_000,
            "num_trainable_parameters": 41_943_040, "memory_bytes": 17 * 2**30, "fits": True,
            "training": TRAINING, "training_unknown": "", "primary_metrics": ["exact_match"],
            "look": 1, "alpha": 0.02, "alpha_left": 0.005, "smallest_detectable_gain": {},
            "smallest_detectable_nll_gain": {}, "smallest_detectable_regression": {},
            "equal_model_passes": {}, "examples_needed": {},
            "preview": "", **fields,
        }
    )  # fmt: skip


def test_memory_is_told_part_by_part_on_what_is_free() -> None:
    lines = describe(make_plan())
    assert lines["memory"] == (
        "about 17,408 MiB of 65,536 that are free on cuda: NVIDIA H200: fits"
    )
    assert lines[""] == "frozen weights 16,384.0, logits 1,024.0"
    assert lines["rows"].startswith("7 of up to 4,096 tokens a step; 20 of 32 blocks")
    assert lines["weights"].endswith("167.77 MB to keep")


def test_hours_and_money_come_with_what_they_rest_on() -> None:
    text = describe_time(PlannedTraining.model_validate(TRAINING))
    assert text == (
        "about 3.2 h of training on one device, which cost 11.38, at 40% (tracking.assumed_mfu) of "
        "989 TFLOP/s (datasheet of the NVIDIA H200)"
    )


def test_an_unknown_device_has_no_hours() -> None:
    unknown = TRAINING | {"device_flops": None, "hours": None, "money": None}
    unknown["device_flops_source"] = "its peak is not known"
    assert describe_time(PlannedTraining.model_validate(unknown)) == (
        "not known: its peak is not known"
    )


def test_changes_are_a_table_where_it_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    show(make_plan(fits=False, training=TRAINING | {"changes": [CHANGE]}))
    printed = capsys.readouterr().out
    for text in ("does not fit", "model.method=qlora", "12,288", "yes", "rounded to 4 bits"):
        assert text in printed


def test_an_unknown_shape_says_why() -> None:
    fields = ("num_parameters", "num_trainable_parameters", "memory_bytes", "fits", "training")
    plan = make_plan(**dict.fromkeys(fields), training_unknown="config.json: a mixture of experts")
    assert describe(plan)["memory"] == "config.json: a mixture of experts"
    assert json.loads(plan.model_dump_json())["training"] is None


def test_a_plan_says_what_the_gate_will_notice(capsys: pytest.CaptureFixture[str]) -> None:
    guard = "exact_match on adversarial"
    plan = make_plan(
        smallest_detectable_gain={"0.1": 0.08, "0.4": None},
        smallest_detectable_nll_gain={"0.05": 0.02},
        smallest_detectable_regression={guard: {"0.05": None, "0.1": 0.086}},
        equal_model_passes={guard: {"0.05": 0.94, "0.1": 0.8}},
        examples_needed={"0.05": {"0.1": 540, "0.2": None}, "0.1": {}},
    )
    lines = describe(plan)
    assert lines["gain"] == (
        "the smallest that 80 % of runs would notice: 0.020 nats a token when a group's changes "
        "by 0.05 (standard deviation), 0.080 when 10% of the answers change"
    )
    assert lines["guard"].startswith("exact_match on adversarial; ")
    assert lines["guard"].endswith("5% change: none, 94%; 10% change: 0.086, 80%")
    show(plan)
    printed = capsys.readouterr().out
    assert "test rows that notice a gain" in printed
    assert "540" in printed
