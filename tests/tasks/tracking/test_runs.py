from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from configs.errors import RequestError, RunError
from tasks.tracking import runs
from tasks.tracking.runs import TrackedRun, flatten_config, open_run


@pytest.fixture
def run(home: Path) -> TrackedRun:
    return open_run("hone", "20260101T000000-abcd", "first")


def test_a_run_folder_has_one_run(run: TrackedRun) -> None:
    runs.finish_run(run, "KILLED")
    resumed = open_run("hone", "20260101T000000-abcd")
    assert resumed.run_id == run.run_id
    assert resumed.client.get_run(run.run_id).info.status == "RUNNING"
    assert open_run("hone", "20260101T000001-efgh").run_id != run.run_id


def test_artifacts_lie_in_hone_home(run: TrackedRun, home: Path) -> None:
    (home / "report.md").write_text("proof")
    (home / "plots").mkdir()
    (home / "plots" / "loss.png").write_bytes(b"png")
    runs.log_artifacts(run, [home / "report.md", home / "plots"])
    found = {path.name: path for path in (home / "mlartifacts" / "hone").rglob("*.*")}
    assert found["report.md"].read_text() == "proof"
    assert found["loss.png"].parent.name == "plots"


def test_changed_params_on_resume_keep_the_first_values(
    run: TrackedRun, caplog: pytest.LogCaptureFixture
) -> None:
    many = {f"field{number}": number for number in range(250)}  # more than one batch
    runs.log_params(run, {"training": many, "purpose": "demo"})
    with caplog.at_level(logging.WARNING, "hone"):
        runs.log_params(run, {"training": many | {"field7": 8, "new": 1}, "purpose": "demo"})
    params = run.client.get_run(run.run_id).data.params
    assert len(params) == 252
    assert (params["training.field7"], params["training.new"]) == ("7", "1")
    assert "training.field7" in caplog.text


def test_overlong_params_are_cut_with_a_warning(
    run: TrackedRun, caplog: pytest.LogCaptureFixture
) -> None:
    runs.log_params(run, {"system_prompt": "x" * 7000})
    assert len(run.client.get_run(run.run_id).data.params["system_prompt"]) == 6000
    assert "7000" in caplog.text


def test_lineage_is_tagged_and_inputs_are_datasets(run: TrackedRun) -> None:
    runs.tag_lineage(run, data_commit="c0ffee", code_revision="abc-dirty.123")
    digest = "d" * 64
    runs.log_dataset(run, name="train", source="data/x", digest=digest, context="training")
    found = run.client.get_run(run.run_id)
    assert found.data.tags["hone.data_commit"] == "c0ffee"
    assert found.data.tags["mlflow.source.git.commit"] == "abc-dirty.123"
    [dataset] = found.inputs.dataset_inputs
    assert dataset.dataset.digest == digest[:36]
    assert json.loads(dataset.dataset.source) == {"uri": "data/x", "digest": digest}
    assert dataset.tags[0].value == "training"


def test_metrics_and_status(run: TrackedRun) -> None:
    runs.log_metrics(run, {"finetuned/test/exact_match": 0.75}, step=3)
    runs.finish_run(run)
    [point] = run.client.get_metric_history(run.run_id, "finetuned/test/exact_match")
    assert (point.value, point.step) == (0.75, 3)
    assert run.client.get_run(run.run_id).info.status == "FINISHED"


def test_a_deleted_experiment_is_named(run: TrackedRun) -> None:
    run.client.delete_experiment(run.experiment_id)
    with pytest.raises(RequestError, match=r"tracking\.project: .* is deleted; restore it"):
        open_run("hone", "20260101T000002-ijkl")


def test_project_names_do_not_leave_the_artifact_folder(home: Path) -> None:
    run = open_run("../../outside x", "20260101T000000-abcd")
    location = run.client.get_experiment(run.experiment_id).artifact_location
    assert location == (home / "mlartifacts" / "__.._outside_x").as_uri()


def test_empty_sections_stay_visible() -> None:
    assert flatten_config({"data": {"roles": {}, "format": None}}) == {
        "data.roles": "{}",
        "data.format": "None",
    }


def test_a_server_that_is_away_is_named_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:pa55@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        RunError, match=r"MLflow's tracking failed: .*see whether it is up"
    ) as found:
        open_run("hone", "20260101T000000-abcd")
    assert "pa55" not in str(found.value)
