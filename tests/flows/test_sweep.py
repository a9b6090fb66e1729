"""A sweep: it searches, goes on where it stopped, and leaves a preset; test is not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.load import load_config
from tasks.tracking.runs import find_run
from tests.flows.conftest import CallHone

pytestmark = pytest.mark.usefixtures("on_server")

SPACE = """\
training.learning_rate: {type: loguniform, low: 1e-4, high: 1e-2}
model.lora_r: {type: choice, values: [4, 8]}
"""
SHORT = (
    "--set", "training.max_steps=4", "--set", "training.num_sample_generations=0", "--json",
)  # fmt: skip


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return str(path)


def test_a_sweep_goes_on_and_leaves_its_best_as_a_preset(
    warm_home: Path, preset: Path, space: str, tmp_path: Path, call_hone: CallHone
) -> None:
    best = tmp_path / "best.yaml"
    asked = ("sweep", str(preset), "--space", space, "--metric", "eval_loss", *SHORT)
    first = call_hone(*asked, "--trials", "1")
    assert first.code == 0, first.stderr
    outcome = call_hone(*asked, "--trials", "3", "--output", str(best))
    assert outcome.code == 0, outcome.stderr
    found = outcome.result
    assert found["name"] == first.result["name"]
    assert found["trials"][0] == first.result["trials"][0]  # not run again
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3
    assert found["best"]["value"] == min(trial["value"] for trial in found["trials"])
    assert (found["metric"], found["split"], found["direction"]) == (
        "eval_loss", "validation", "minimize",
    )  # fmt: skip

    text = best.read_text(encoding="utf-8")
    assert f"of the sweep {found['name']}" in text.splitlines()[0]
    config, params = load_config(str(best)), found["best"]["params"]
    assert config.training.learning_rate == params["training.learning_rate"]
    assert config.model.lora_r == int(params["model.lora_r"])
    assert config.training.max_steps == 4
    assert config.data == load_config(str(preset)).data

    parent, trial = (find_run(n) for n in (found["name"], f"{found['name']}/trial-0002"))
    assert parent is not None
    assert trial is not None
    assert trial.data.tags["mlflow.parentRunId"] == parent.info.run_id
    value = found["trials"][2]["value"]
    assert trial.data.metrics["validation/eval_loss"] == pytest.approx(value)
    assert not (warm_home / "artifacts" / "looks").exists()
    evaluated = [p.read_text() for p in warm_home.glob("cache/evaluate/*/manifest.json")]
    assert not any('"arm": "finetuned"' in text for text in evaluated)  # eval_loss needs no answers


def test_settings_that_fail_are_an_outcome(
    warm_home: Path, preset: Path, call_hone: CallHone
) -> None:
    space = "model.lora_target_modules=all-linear,no_such_module"
    outcome = call_hone(
        "sweep", str(preset), "--set-space", space, "--metric", "nll", "--trials", "3",
        "--seed", "1", *SHORT,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    by_choice = {
        trial["params"]["model.lora_target_modules"]: trial for trial in outcome.result["trials"]
    }
    assert by_choice["no_such_module"]["state"] == "failed"
    assert "no_such_module" in by_choice["no_such_module"]["reason"]
    assert by_choice["all-linear"]["state"] == "complete"
    assert outcome.result["split"] == "validation"


def test_a_wrong_space_is_refused_before_anything_is_done(
    home: Path, preset: Path, tmp_path: Path, call_hone: CallHone
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("training.learning_rate: {type: uniform, low: 0}\n", encoding="utf-8")
    outcome = call_hone("sweep", str(preset), "--space", str(path), "--json")
    assert outcome.code == 3
    assert outcome.result["error"]["where"].endswith("wrong.yaml:1")
    assert "training.learning_rate" in outcome.result["error"]["message"]
    assert not (home / "cache").exists()


def test_a_direction_that_makes_a_metric_worse_is_refused(
    warm_home: Path, preset: Path, call_hone: CallHone
) -> None:
    outcome = call_hone(
        "sweep", str(preset), "--set-space", "model.lora_r=4,8", "--metric", "nll",
        "--direction", "maximize", "--json",
    )  # fmt: skip
    assert outcome.code == 3
    assert outcome.result["error"]["allowed"] == "minimize"
