"""Publishing by hand: approvals, refusals, and the way back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.flows.conftest import CallHone
from tests.flows.running import Outcome, list_runs, list_versions

REQUIRED = ("--set", "publish.approval=required")

pytestmark = pytest.mark.usefixtures("on_server")


@pytest.fixture
def trained_home(published: Outcome, home: Path) -> Path:
    """A HONE_HOME in which everything is computed and nothing was published."""
    shutil.copytree(published.home / "cache", home / "cache")
    shutil.copytree(published.home / "splits", home / "splits", dirs_exist_ok=True)
    return home


def test_a_run_waits_until_somebody_approves_its_very_evidence(
    trained_home: Path, preset: Path, call_hone: CallHone
) -> None:
    waiting = call_hone("run", str(preset), *REQUIRED, "--json")
    assert waiting.code == 2, waiting.stderr
    assert waiting.result["verdict"] == "better"
    assert waiting.result["publication"] is None
    asked = waiting.result["waiting"]
    assert asked["why"] == "publish.approval is required"
    assert {"config", "data", "model", "predictions/finetuned"} <= set(asked["evidence"])
    run = waiting.result["run_dir"]

    still = call_hone("publish", run)
    assert still.code == 2, still.stderr
    assert asked["decision"] in still.stdout
    assert "--approve REASON" in still.stdout

    other = call_hone("publish", run, "--approve", "good", "--decision", "0" * 64, "--json")
    assert (other.code, list_versions(trained_home)) == (3, [])
    assert asked["decision"] in other.result["error"]["message"]
    assert call_hone("publish", run, "--approve", " ").code == 3

    done = call_hone("publish", run, "--approve", "the answers are good", "--json")
    assert done.code == 0, done.stderr
    assert done.result["publication"]["version"] == "1"
    assert done.result["waiting"] is None
    folder = trained_home / done.result["publication"]["path"]
    [move] = json.loads((folder / "moves.json").read_text())
    assert (move["action"], move["reason"]) == ("published", "the answers are good")
    answer = json.loads((trained_home / run / "approval.json").read_text())
    assert (answer["state"], answer["reason"]) == ("approved", "the answers are good")
    manifest = json.loads((trained_home / run / "manifest.json").read_text())
    assert manifest["handles"]["publish"]["version"] == "1"

    again = call_hone("run", str(preset), *REQUIRED, "--json")
    assert again.code == 0, again.stderr
    assert again.result["publication"]["version"] == "1"
    assert "waiting" not in again.result


def test_what_nobody_answers_is_declined(
    trained_home: Path, preset: Path, call_hone: CallHone
) -> None:
    days = ("--set", "publish.approval_days=0.0000001")
    assert call_hone("run", str(preset), *REQUIRED, *days).code == 2
    late = call_hone("publish", "latest", "--approve", "good", "--json")
    assert late.code == 2, late.stderr
    assert "nobody approved it before" in late.result["declined"]
    assert late.result["publication"] is None
    assert list_versions(trained_home) == []


def test_only_better_is_published_by_hand(
    trained_home: Path, preset: Path, call_hone: CallHone
) -> None:
    change = ("--set", "training.learning_rate=0", "--set", "training.max_steps=4")
    assert call_hone("run", str(preset), *change, "--until", "decide").code == 2
    refused = call_hone("publish", list_runs(trained_home)[-1].name, "--approve", "please")
    assert refused.code == 2, refused.stderr
    assert "identical to the baseline" in refused.stdout
    assert list_versions(trained_home) == []


def test_changed_evidence_is_refused(trained_home: Path, preset: Path, call_hone: CallHone) -> None:
    assert call_hone("run", str(preset), "--until", "decide").code == 0
    config = list_runs(trained_home)[-1] / "config.yaml"
    config.write_text(config.read_text() + "\n")
    refused = call_hone("publish", "latest")
    assert refused.code == 1
    assert "its evidence is missing or was changed: config" in refused.stderr
    assert list_versions(trained_home) == []


@pytest.mark.parametrize("name", ["nothing", "outputs/runs/20200101T000000Z-abcdef", "/"])
def test_a_run_that_is_not_there(home: Path, call_hone: CallHone, name: str) -> None:
    outcome = call_hone("publish", name)
    assert outcome.code == 3
    assert "no run folder of this HONE_HOME" in outcome.stderr


def test_nothing_to_roll_back(home: Path, call_hone: CallHone) -> None:
    outcome = call_hone("rollback", "small", "--reason", "it swears")
    assert outcome.code == 3
    assert "no model of this name has a champion" in outcome.stderr


def test_an_empty_request_approves_nothing() -> None:
    from flows.publishing import publish, rollback

    # What the server refuses a request without, before there is a flow run.
    assert set(publish.parameters.required) == {"run", "decision", "reason"}
    assert set(rollback.parameters.required) == {"name", "reason"}


@pytest.mark.long
@pytest.mark.slow
def test_a_version_is_taken_back_and_comes_again_only_when_approved(
    published: Outcome, home: Path, preset: Path, call_hone: CallHone
) -> None:
    shutil.copytree(published.home, home, dirs_exist_ok=True, symlinks=True)
    change = ("--set", "training.seed=7", "--set", "gate.champion=not_worse")
    change += ("--set", "gate.max_regression=0.3")  # 40 rows at the second look bound no less
    second = call_hone("run", str(preset), *change, "--json")
    assert second.code == 0, second.stderr
    assert second.result["publication"]["version"] == "2"

    back = call_hone("rollback", "small", "--reason", "it swears", "--json")
    assert back.code == 0, back.stderr
    move = back.result["move"]
    assert (move["version"], move["replaced"], move["reason"]) == ("1", "2", "it swears")
    assert back.result["report"]["passed"] is True

    again = call_hone("run", str(preset), *change, "--json")
    assert again.code == 2, again.stderr
    assert again.result["verdict"] == "better"
    assert "it swears" in again.result["waiting"]["why"]

    approved = call_hone("publish", "latest", "--approve", "it swears no more", "--to", "package")
    assert approved.code == 0, approved.stderr
    [package] = (home / "artifacts" / "packages").iterdir()
    assert f"artifacts/packages/{package.name}" in approved.stdout
    rows = preset.parent / "data" / "eval" / "test.jsonl"
    scored = call_hone(
        "evaluate", str(package), "--data", str(rows), "--num-samples", "4", "--json"
    )
    assert scored.code == 0, scored.stderr
    assert scored.result["metrics"]["test.jsonl"]["exact_match"] == 1.0
