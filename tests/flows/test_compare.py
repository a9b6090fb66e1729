"""Several configurations on the same data: one table, in the order asked for, and in MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.tracking.runs import find_run
from tests.flows.conftest import CallHone

pytestmark = pytest.mark.usefixtures("on_server")

FULL = """\
extends: preset.yaml
model: {method: full, lora_modules_to_save: []}
training: {learning_rate: 1e-3}
"""
STEPS = ("--set", "training.max_steps=4", "--set", "training.num_sample_generations=0")


@pytest.fixture
def presets(preset: Path, tmp_path: Path) -> tuple[str, str]:
    other = tmp_path / "full.yaml"
    text = FULL.replace("preset.yaml", str(preset))
    other.write_text(text, encoding="utf-8")
    return str(preset), str(other)


def test_presets_are_compared_on_the_same_rows(
    warm_home: Path, presets: tuple[str, str], call_hone: CallHone
) -> None:
    outcome = call_hone("compare", *presets, *STEPS, "--json")
    assert outcome.code == 0, outcome.stderr
    found = outcome.result
    assert found["split"] == "validation"
    assert [(arm["name"], arm["method"]) for arm in found["arms"]] == [
        ("preset", "lora"),
        ("full", "full"),
    ]
    for arm in found["arms"]:
        assert arm["loss"] > 0
        assert 0 <= arm["exact_match"] <= 1
        assert arm["tokens_per_second"] > 0
        assert arm["memory_bytes"] > 0
        assert (warm_home / arm["run_dir"] / "model" / "README.md").parent.is_dir()
    folder = warm_home / found["path"]
    assert json.loads((folder / "comparison.json").read_text()) == found
    assert (warm_home / found["plot"]).read_bytes()[:4] == b"\x89PNG"

    parent = find_run(found["name"])
    child = find_run(f"{found['name']}/full")
    assert parent is not None
    assert child is not None
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics["full/loss"] == pytest.approx(found["arms"][1]["loss"])
    assert parent.info.status == "FINISHED"

    again = call_hone("compare", *presets, *STEPS, "--json")
    assert [arm["reused"] for arm in again.result["arms"]] == [["train", "evaluate"]] * 2
    assert again.result["path"] != found["path"]


def test_different_data_are_refused_with_the_reason(
    warm_home: Path, preset: Path, tmp_path: Path, call_hone: CallHone
) -> None:
    rows = (preset.parent / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    other = tmp_path / "fewer.jsonl"
    other.write_text("\n".join(rows[:40]) + "\n", encoding="utf-8")
    text = f"extends: {preset}\ndata: {{source: {other}, pattern: null, test_fraction: 0.2}}\n"
    (tmp_path / "other.yaml").write_text(text, encoding="utf-8")
    outcome = call_hone("compare", str(preset), str(tmp_path / "other.yaml"), "--json")
    assert outcome.code == 3
    error = outcome.result["error"]
    assert "preset and other have different data" in error["message"]
    assert any("data.source" in problem for problem in error["problems"])
    assert not (warm_home / "outputs" / "comparisons").exists()


@pytest.mark.parametrize("names", [("tiny",), ("tiny", "tiny")])
def test_two_presets_of_different_names_are_asked_for(
    call_hone: CallHone, names: tuple[str, ...]
) -> None:
    outcome = call_hone("compare", *names)
    assert outcome.code == 3
    assert "two or more presets" in outcome.stderr
