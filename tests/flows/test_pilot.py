"""The pilot of a run: it measures and forecasts, and decides, publishes and looks at nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.errors import RequestError
from configs.load import apply_overrides, load_config
from flows.results import RunResult, check_pilot
from tasks.pilot import MAX_PILOT_STEPS, choose_split
from tasks.records.handles import FormattedData, RowCounts, SplitRecord
from tests.flows.conftest import CallHone
from tests.flows.running import list_versions

STEPS = 260
PRICE = 3.5


@pytest.fixture
def pilot(warm_home: Path, preset: Path, on_server: None) -> RunResult:
    from flows.finetune import finetune

    overrides = [f"training.max_steps={STEPS}", f"tracking.device_hour_price={PRICE}"]
    return finetune(load_config(str(preset), overrides), pilot=True)


def test_a_pilot_measures_and_forecasts(warm_home: Path, pilot: RunResult) -> None:
    assert pilot.verdict is None
    assert pilot.publication is None
    assert list_versions(warm_home) == []
    assert not (warm_home / "artifacts" / "looks").exists()
    assert list(pilot.metrics) == ["baseline", "finetuned"]
    assert {tuple(by_split) for by_split in pilot.metrics.values()} == {("validation",)}

    whole = pilot.pilot
    assert whole is not None
    assert (whole.pilot_steps, whole.steps) == (MAX_PILOT_STEPS, STEPS)
    assert whole.tokens_per_second is not None
    assert whole.training_seconds is not None
    assert whole.training_seconds > whole.tokens / whole.tokens_per_second
    assert whole.hours == pytest.approx((whole.training_seconds + whole.evaluation_seconds) / 3600)
    assert whole.money == pytest.approx(whole.hours * PRICE)
    assert whole.memory_bytes is not None
    assert 0 < whole.memory_bytes < whole.device_memory_bytes

    assert pilot.run_dir is not None
    text = (warm_home / pilot.run_dir / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Pilot of small\n\n**This is a pilot**")
    assert "### validation" in text
    assert "Verdict" not in text


@pytest.mark.usefixtures("on_server")
def test_the_command_says_no_and_has_the_forecast(
    warm_home: Path, preset: Path, call_hone: CallHone
) -> None:
    outcome = call_hone("run", str(preset), "--pilot", "--json")
    assert outcome.code == 2, outcome.stderr
    result = outcome.result
    assert result["verdict"] is None
    # A run that is no longer than a pilot is its own pilot, and its training is not lost.
    assert result["pilot"]["pilot_steps"] == result["pilot"]["steps"] == 20
    manifest = json.loads((warm_home / result["run_dir"] / "manifest.json").read_text())
    assert "forecast" in manifest["handles"]
    again = call_hone("run", str(preset), "--until", "train", "--json")
    assert again.code == 0, again.stderr
    assert "train" in again.result["reused"]
    assert "pilot" not in again.result


def test_a_pilot_does_not_stop_after_a_stage() -> None:
    with pytest.raises(RequestError, match="until=train"):
        check_pilot(pilot=True, until="train")


def make_formatted(*splits: str) -> FormattedData:
    record = SplitRecord(rows=1, groups=1, tokens=1, trained_tokens=1, digest="d")
    return FormattedData(
        path="p", digest="d", kind="messages", rows=RowCounts(), template_digest="t",
        splits=dict.fromkeys(splits, record), primary_metrics=("nll",),
    )  # fmt: skip


def test_golden_goes_before_dev_and_test_is_never_taken() -> None:
    assert choose_split(make_formatted("train", "validation", "dev", "golden", "test")) == "golden"
    assert choose_split(make_formatted("train", "validation", "dev", "test")) == "dev"
    assert choose_split(make_formatted("train", "validation", "test")) == "validation"
    with pytest.raises(RequestError, match="left to the gate"):
        choose_split(make_formatted("train", "test"))


def test_a_shortened_run_is_one_that_every_engine_takes() -> None:
    from tasks.pilot import SHORTENED
    from tasks.training.engines.llamafactory.checks import check_request

    own = {"training.engine": "llamafactory", "training.packing": False}
    asked = {**own, "training.max_steps": MAX_PILOT_STEPS, **SHORTENED}
    config = apply_overrides(load_config("tiny-full"), asked)
    check_request(config.model, config.training)
