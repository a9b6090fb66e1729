from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from configs.errors import RequestError, RunError
from tasks.publishing import history, local, publish, registry
from tasks.publishing.approvals import Approval, NeedsApproval
from tasks.publishing.candidates import Candidate
from tasks.publishing.model_versions import find_aliases
from tasks.publishing.publish import publish_candidate
from tasks.publishing.registry import ChampionMoved
from tasks.records.handles import Publication
from tasks.records.home import find_home
from tasks.records.writing import read_json
from tasks.tracking.runs import TrackedRun, open_run
from tasks.tracking.store import open_client

from .conftest import NAME, SETTINGS, Workshop, bind, make_candidate, register_without_test

pytestmark = pytest.mark.filterwarnings("ignore:The PEFT config's")


def test_a_version_has_all_that_belongs_to_it(published_home: Path) -> None:
    folder = local.find_version_path(NAME, "1")
    assert {path.name for path in folder.iterdir()} >= {
        "README.md", "acceptance.json", "adapter_config.json", "adapter_model.safetensors",
        "chat_template.jinja", "config.yaml", "decision.json", "digests.json", "lineage.json",
        "metrics.json", "publication.json", "tokenizer.json",
    }  # fmt: skip
    assert local.verify_artefact(folder) == ""
    report = read_json(folder / "acceptance.json")
    assert report["passed"] is True
    assert {check["name"] for check in report["checks"]} == {
        "digests", "no_pickle", "weights", "loads", "logits", "answers", "stops", "served",
    }  # fmt: skip


def test_the_registry_knows_where_a_version_comes_from(published_home: Path) -> None:
    client = open_client()
    assert find_aliases(client, NAME) == {"champion": "1"}
    [version] = client.search_model_versions(f"name = '{NAME}'")
    lineage = local.read_lineage(local.find_version_path(NAME, "1"))
    assert lineage is not None
    assert version.tags["hone.candidate_digest"] == lineage.candidate_digest
    assert version.tags["hone.decision_digest"] == lineage.decision_digest
    assert version.tags["hone.data_commit"] == "c" * 64
    assert version.tags["hone.code_revision"] == "abc123-dirty.456"
    assert version.tags["hone.run"] == "20260101T000000Z-abcdef"
    assert client.get_logged_model(version.tags["hone.model_id"]).status == "READY"


def test_the_same_candidate_is_published_once(workshop: Workshop, published_home: Path) -> None:
    candidate = make_candidate(workshop, published_home, seed=1)
    publication = publish_candidate(candidate, open_run("hone", candidate.run), SETTINGS)
    assert (publication.version, publication.reused) == ("1", True)
    assert publication.decision_digest == candidate.decision.digest
    assert local.read_decision(publication.folder) == candidate.decision


def test_a_successor_becomes_champion(workshop: Workshop, two_versions: Path) -> None:
    home = two_versions
    successor = make_candidate(workshop, home, seed=2, champion="1")
    publication = local.find_version(NAME, successor.trained.digest)
    assert publication is not None
    assert publication.version == "2"
    assert find_aliases(open_client(), NAME) == {"champion": "2"}
    lineage = local.read_lineage(publication.folder)
    assert lineage is not None
    assert lineage.replaces == "1"
    # Version 1 was the champion once: its candidate is still known, whatever became of its folder.
    shutil.rmtree(local.find_version_path(NAME, "1"))
    first = registry.find_published(NAME, make_candidate(workshop, home, seed=1).trained.digest)
    assert first is not None
    assert (first.version, first.reused) == ("1", True)
    assert local.verify_artefact(local.find_version_path(NAME, "1")) == ""
    # A decision that was made when version 1 was the champion comes too late now.
    late = bind(successor, look=2)
    late = replace(late, trained=late.trained.model_copy(update={"digest": "0" * 64}))
    with pytest.raises(RunError, match="candidate"):
        publish_candidate(late, open_run("hone", late.run), SETTINGS)


@pytest.mark.parametrize("decided_against", [None, "7"])
def test_another_champion_asks_for_another_decision(
    workshop: Workshop, published_home: Path, decided_against: str | None
) -> None:
    late = make_candidate(workshop, published_home, seed=2, champion=decided_against)
    with pytest.raises(ChampionMoved, match=f"against version {decided_against}, now it is 1"):
        publish_candidate(late, open_run("hone", late.run), SETTINGS)
    assert find_aliases(open_client(), NAME) == {"champion": "1"}


@pytest.mark.parametrize("verdict", ["not_better", "inconclusive"])
def test_only_better_is_published(candidate: Candidate, run: TrackedRun, verdict: str) -> None:
    with pytest.raises(RequestError, match=f"the verdict is {verdict}"):
        publish_candidate(bind(candidate, verdict=verdict), run, SETTINGS)
    assert local.list_versions(NAME) == []


def test_what_fails_on_the_way_leaves_nothing(
    candidate: Candidate, run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish, "build_pyfunc", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        publish_candidate(candidate, run, SETTINGS)
    left = [path for path in (find_home() / "artifacts").rglob("*") if path.suffix != ".lock"]
    assert {path.name for path in left if path.is_file()} == set()
    assert find_aliases(run.client, NAME) == {}
    [logged] = run.client.search_logged_models([run.experiment_id])
    assert logged.status == "FAILED"


def test_two_publishers_at_once_end_with_one_champion(
    workshop: Workshop, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = [make_candidate(workshop, home, seed=seed) for seed in (1, 2)]
    run = open_run("hone", candidates[0].run)
    monkeypatch.setattr(publish, "_accept_and_register", register_without_test)
    outcomes: list[Publication | Exception] = []

    def attempt(candidate: Candidate) -> None:
        try:
            outcomes.append(publish_candidate(candidate, run, SETTINGS))
        except ChampionMoved as err:
            outcomes.append(err)

    threads = [threading.Thread(target=attempt, args=[candidate]) for candidate in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [published] = [outcome for outcome in outcomes if isinstance(outcome, Publication)]
    [late] = [outcome for outcome in outcomes if isinstance(outcome, ChampionMoved)]
    assert "was made against version None, now it is 1" in late.message
    assert find_aliases(run.client, NAME) == {"champion": published.version} == {"champion": "1"}
    moves = history.read_history(run.client, NAME)
    assert [(m.action, m.version, m.replaced) for m in moves] == [("published", "1", None)]

    # Decided upon again, against the new champion, the second one replaces it.
    late_seed = 2 if local.find_version(NAME, candidates[0].trained.digest) else 1
    again = make_candidate(workshop, home, seed=late_seed, champion="1")
    assert publish_candidate(again, run, SETTINGS).version == "2"
    moves = history.read_history(run.client, NAME)
    assert [(m.version, m.replaced) for m in moves] == [("1", None), ("2", "1")]


def test_a_config_that_asks_for_approval_publishes_nothing_without(
    candidate: Candidate, run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "_accept_and_register", register_without_test)
    section = {**candidate.config["publish"], "approval": "required"}
    asking = replace(candidate, config={**candidate.config, "publish": section})
    with pytest.raises(NeedsApproval, match=candidate.decision.digest):
        publish_candidate(asking, run, SETTINGS)
    assert find_aliases(run.client, NAME) == {}
    approval = Approval(decision_digest=candidate.decision.digest, reason="good", who="ada@lab")
    publish_candidate(asking, run, SETTINGS, approval=approval)
    [move] = history.read_history(run.client, NAME)
    assert (move.who, move.reason) == ("ada@lab", "good")
