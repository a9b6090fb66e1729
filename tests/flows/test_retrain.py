"""Retraining on a published model: skipped with a reason, and trained when the data has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Running

from configs.load import apply_overrides, load_config
from configs.retraining import RetrainRules
from configs.schema import RunConfig
from flows.retrain import retrain
from flows.rivals import find_rival
from tasks.publishing.model_versions import find_aliases, find_tags
from tasks.records.writing import read_json, read_jsonl
from tasks.start import find_start
from tasks.tracking.store import open_client
from tasks.weigh import SKIPPED_TAG
from tests.flows.running import Outcome, make_row, write_rows


@pytest.fixture
def project(preset: Path, published: Outcome, home: Path, tmp_path: Path) -> Path:
    """The small task in a folder of its own, and a HONE_HOME in which it is published."""
    shutil.rmtree(home)
    shutil.copytree(published.home, home, symlinks=True)
    shutil.copytree(preset.parent, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def config(project: Path) -> RunConfig:
    # The source is another folder with the same bytes, which makes it the same data.
    return load_config(str(project / "preset.yaml"), ["training.max_steps=3"])


def test_the_same_data_is_skipped_and_the_skip_recorded(on_server: None, config: RunConfig) -> None:
    outcome = retrain(config)
    assert outcome.run is None
    assert outcome.choice.reason.startswith("the data is that of the champion")
    said = find_tags(open_client(), "small", "1")[SKIPPED_TAG]
    assert outcome.choice.reason in said


@pytest.mark.slow
def test_changed_data_is_trained_on_once(on_server: None, config: RunConfig, project: Path) -> None:
    rows = [make_row(f"Put the spoon in box {n}.") for n in range(6)]
    write_rows(project / "data" / "more.jsonl", rows)
    overrides = {"data.pattern": None}
    few = retrain(config, RetrainRules(min_new_rows=7), overrides)
    assert (few.run, few.choice.new_rows) == (None, 6)
    outcome = retrain(config, RetrainRules(min_new_rows=6), overrides)
    assert outcome.run is not None
    # Three steps do not beat the champion: nothing is published, and not tried again.
    assert outcome.run.verdict != "better"
    assert find_aliases(open_client(), "small")["champion"] == "1"
    again = retrain(config, RetrainRules(min_new_rows=6), overrides)
    assert again.run is None
    assert "the same data was trained on" in again.choice.reason


@pytest.mark.slow
def test_the_champions_adapter_is_a_start_by_choice(
    on_server: None, config: RunConfig, project: Path, home: Path
) -> None:
    rows = [make_row(f"Put the fork in box {n}.") for n in range(6)]
    write_rows(project / "data" / "more.jsonl", rows)
    outcome = retrain(config, RetrainRules(start_from="champion"), {"data.pattern": None})
    assert outcome.run is not None
    manifest = read_json(home / str(outcome.run.run_dir) / "manifest.json")
    trained = home / manifest["handles"]["train"]["path"]
    assert "init_adapter: models:/small/1" in (
        home / str(outcome.run.run_dir) / "config.yaml"
    ).read_text(encoding="utf-8")
    start = find_start(apply_overrides(config, {"training.init_adapter": "models:/small/1"}))
    assert start is not None
    assert read_json(trained / "manifest.json")["key"]["init_adapter"] == start.digest
    # It begins below where the champion, of a new adapter, began: the rows are of the same kind.
    first = {
        file.parent.name: next(row["loss"] for row in read_jsonl(file) if "loss" in row)
        for file in home.glob("cache/train/*/history.jsonl")
    }
    warm = first.pop(trained.name)
    (cold,) = first.values()
    assert warm < cold, (warm, cold)


def test_another_run_that_trains_the_same_model_is_found(on_server: None) -> None:
    name = "small-rival"

    @flow(name="finetune")
    def other(config: RunConfig, overrides: dict[str, str]) -> str:
        with get_client(sync_client=True) as client:
            context = FlowRunContext.get()
            assert context is not None
            assert context.flow_run is not None
            state = client.read_flow_run(context.flow_run.id).state
            assert state is not None
            assert state.type == Running().type
        return look()

    @flow(name="look")
    def look() -> str:
        return find_rival(name)

    assert "trains small-rival since" in other(RunConfig(), {"publish.name": name})
    assert other(RunConfig(), {"publish.name": "another"}) == ""
    assert look() == ""
