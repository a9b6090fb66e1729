"""A model that was published through an MLflow server: explained and done again elsewhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RequestError
from configs.load import load_config
from flows.results import RunResult
from tests.flows.conftest import CallHone, copy_warm_entries
from tests.flows.mlflow_server import serve_mlflow
from tests.flows.running import Outcome

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class PublishedThroughServer:
    address: str
    home: Path
    result: RunResult


@pytest.fixture(scope="module")
def served(
    published: Outcome,
    preset: Path,
    server: str,
    database: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PublishedThroughServer]:
    """One run of the small task, tracked and published through a server."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    folder = tmp_path_factory.mktemp("served")
    home = folder / "home"
    home.mkdir()
    copy_warm_entries(published.home, home)
    shutil.copy(database, folder / "mlflow.db")
    with (
        serve_mlflow(folder, folder / "mlflow.db") as address,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("HONE_HOME", str(home))
        patch.setenv("MLFLOW_TRACKING_URI", address)
        patch.setenv("PREFECT_API_URL", server)
        with temporary_settings({PREFECT_API_URL: server}):
            from flows.finetune import finetune

            result = finetune(load_config(str(preset)))
        assert result.publication
        yield PublishedThroughServer(address, home, result)


@pytest.fixture
def elsewhere(
    served: PublishedThroughServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty HONE_HOME that knows the server and nothing else."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    monkeypatch.setenv("HONE_HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.address)
    return home


def explain(call_hone: CallHone, *arguments: str) -> dict[str, Any]:
    outcome = call_hone("explain", *arguments, "--json")
    assert outcome.code == 0, outcome.stderr
    return outcome.result


def test_a_version_is_explained_by_the_server_alone(
    call_hone: CallHone, elsewhere: Path, served: PublishedThroughServer
) -> None:
    found = explain(call_hone, "models:/small@champion")
    assert found["problems"] == []
    assert found["version"]["uri"] == "models:/small/1"
    assert found["decision"]["verdict"] == "better"
    assert found["decision"]["look"] == 1
    assert found["decision"]["digest"] == found["lineage"]["decision_digest"]
    metrics = {arm: facts["metrics"] for arm, facts in found["evaluations"].items()}
    assert metrics == served.result.metrics
    for arm, facts in found["evaluations"].items():
        assert facts["digest"] == found["decision"]["evidence"][f"predictions/{arm}"]
    assert found["run"]["path"] is None
    assert found["run"]["trained"]["digest"] == found["lineage"]["candidate_digest"]
    assert found["formatted"]["rows"] == served.result.rows.model_dump()
    assert found["formatted"]["splits"]["test"]["rows"] == 40
    assert found["data"]["commit"] == served.result.data_commit
    assert sorted(found["data"]["files"]) == ["eval/test/test.jsonl", "train/train.jsonl"]
    assert "adapter_model.safetensors" in found["files"]
    assert found["config"]["training"]["max_steps"] == 20
    assert found["training"]["base"] == found["base"]["revision"]
    assert re.fullmatch(r"CPython 3\.\d+\.\d+", found["environment"]["python"])
    assert found["environment"]["packages"]["torch"]
    assert found["environment"]["device"] == "cpu"
    assert found["code"]["revision"]
    assert found["template_digest"] == found["formatted"]["template_digest"]
    assert list(elsewhere.iterdir()) == []


def test_a_name_a_version_and_a_run_are_the_same_chain(
    call_hone: CallHone, elsewhere: Path, served: PublishedThroughServer
) -> None:
    run = str(served.result.run_dir)
    chains = [explain(call_hone, n) | {"model": ""} for n in ("small", "models:/small/1", run)]
    assert chains[0] == chains[1] == chains[2]


def test_the_picture_names_every_link(call_hone: CallHone, elsewhere: Path, tmp_path: Path) -> None:
    picture = call_hone("explain", "small", "--mermaid").stdout
    lines = picture.splitlines()
    assert lines[0] == "flowchart LR"
    nodes = {match[1] for match in re.finditer(r'^    (\w+)\["', picture, re.MULTILINE)}
    assert nodes == {
        "data", "formatted", "base", "code", "environment", "run", "evaluation_baseline",
        "evaluation_finetuned", "decision", "version",
    }  # fmt: skip
    arrows = {tuple(line.split(" --> ")) for line in map(str.strip, lines) if "-->" in line}
    assert {a for a, _ in arrows} | {b for _, b in arrows} == nodes
    assert "?" not in picture
    page = tmp_path / "lineage.md"
    call_hone("explain", "small", "--output", str(page))
    assert page.read_text() == f"```mermaid\n{picture}```\n"


def test_what_an_older_hone_did_not_record_is_named(
    call_hone: CallHone,
    elsewhere: Path,
    served: PublishedThroughServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.trace.read_provenance", lambda *_: None)
    found = explain(call_hone, "models:/small/1")
    assert found["decision"]["verdict"] == "better"
    assert found["evaluations"]["finetuned"]["digest"]
    assert found["formatted"] is None
    assert found["config"]["training"]["max_steps"] == 20
    missing = {p.removeprefix("not recorded: ") for p in found["problems"]}
    assert {"the training", "the formatted data and its row counts"} <= missing
    monkeypatch.setenv("HONE_HOME", str(served.home))  # where the run's folder is
    assert explain(call_hone, "models:/small/1")["formatted"]["rows"]["read"] == 140


def test_an_unknown_version_and_a_server_that_is_away(
    call_hone: CallHone, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = call_hone("explain", "models:/small/7", "--json")
    assert outcome.code == 3
    assert outcome.result["error"]["allowed"] == "champion"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert call_hone("explain", "models:/small/1", "--json").code == 1


def test_a_version_is_made_again_byte_for_byte(
    call_hone: CallHone, elsewhere: Path, served: PublishedThroughServer, on_server: None
) -> None:
    """On another machine with another past: its splits, and what is published, come from MLflow."""
    outcome = call_hone("reproduce", "models:/small/1", "--json")
    found = outcome.result
    assert outcome.code == 0, found
    assert (found["equal"], found["how"], found["device"]) == (True, "bytes", "cpu")
    assert found["stages"] == {"data": True, "formatted": True, "model": True, "answers": True}
    weights = found["files"]["adapter_model.safetensors"]
    assert weights["found"] == weights["expected"]
    assert found["files"]["adapter_config.json"]["expected"]
    assert found["differences"] == {}
    assert found["nll"][0] == found["nll"][1]
    assert found["notes"] == []
    assert {path.name for path in elsewhere.iterdir()} <= {
        "cache",
        "outputs",
        "artifacts",
        ".prefect",
    }
    assert not (elsewhere / "artifacts" / "models").exists()
    assert call_hone("explain", "models:/small/2", "--json").code == 3  # nothing was published


def test_what_cannot_be_made_again_is_named(
    call_hone: CallHone, elsewhere: Path, served: PublishedThroughServer,
    on_server: None,
) -> None:  # fmt: skip
    from tasks import reproduce as repeating
    from tasks.explain import explain as find_chain

    chain = find_chain("small")
    assert chain.data
    assert chain.base
    lost = chain.model_copy(update={"data": chain.data.model_copy(update={"commit": "0" * 64})})
    repetition = repeating.prepare_repetition(lost)
    with pytest.raises(RequestError, match=r"data commit 000000000000 of .* is gone") as refused:
        repeating.bring_data(repetition)
    assert refused.value.exit_code == 3
    other = chain.model_copy(update={"base": chain.base.model_copy(update={"revision": "f" * 40})})
    with pytest.raises(
        RequestError, match=r"base model data/tiny-base: it is at .* trained on fff"
    ):
        repeating.prepare_repetition(other)
    with pytest.raises(RequestError, match="not recorded: the configuration"):
        repeating.prepare_repetition(chain.model_copy(update={"config": None}))
