from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import CallHone
from tests.flows.running import Outcome, list_runs


@pytest.fixture
def in_published(published: Outcome, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The HONE_HOME of the session's published run; nothing here writes to it."""
    monkeypatch.setenv("HONE_HOME", str(published.home))
    return published.home


def explain(call_hone: CallHone, model: str) -> dict[str, Any]:
    outcome = call_hone("explain", model, "--json")
    assert outcome.code == 0, outcome.stderr
    return outcome.result


def test_the_chain_from_a_version_to_its_data_and_code(
    call_hone: CallHone, in_published: Path, published: Outcome
) -> None:
    found = explain(call_hone, "models:/small@champion")
    lineage = found["lineage"]
    assert found["version"]["uri"] == published.result["publication"]["uri"]
    assert found["decision"]["verdict"] == "better"
    assert found["decision"]["digest"] == lineage["decision_digest"]
    arms = {arm: facts["metrics"] for arm, facts in found["evaluations"].items()}
    assert arms == published.result["metrics"]
    assert found["run"]["path"] == published.result["run_dir"]
    assert found["run"]["mlflow_run_id"]
    assert found["run"]["trained"]["digest"] == lineage["candidate_digest"]
    assert found["formatted"]["rows"] == published.result["rows"] | {}
    assert found["data"]["commit"] == published.result["data_commit"]
    assert sorted(found["data"]["files"]) == ["eval/test/test.jsonl", "train/train.jsonl"]
    assert found["code"]["revision"] == lineage["code_revision"]
    assert found["problems"] == []


def test_a_name_a_run_and_a_version_lead_to_the_same_chain(
    call_hone: CallHone, in_published: Path, published: Outcome
) -> None:
    names = ("small", published.result["run_dir"], published.result["publication"]["path"])
    chains = [explain(call_hone, name) | {"model": ""} for name in names]
    assert chains[0] == chains[1] == chains[2]
    within = explain(call_hone, f"{list_runs(in_published)[0]}/model")
    assert within | {"model": ""} == chains[0]


def test_the_chain_is_told_to_a_person(call_hone: CallHone, in_published: Path) -> None:
    shown = call_hone("explain", "small").stdout
    for text in ("models:/small/1", "better, look 1", "MLflow run", "rows read", "code "):
        assert text in shown


def test_a_model_without_lineage_is_refused(call_hone: CallHone, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("purpose: somebody else's\n")
    (tmp_path / "model").mkdir()
    outcome = call_hone("explain", str(tmp_path / "model"), "--json")
    assert outcome.code == 3
    assert json.loads(outcome.stdout)["error"]["message"] == "no model with a lineage"
    assert call_hone("explain", "nowhere").code == 3
