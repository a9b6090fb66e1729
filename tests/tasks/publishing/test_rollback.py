from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import RequestError, RunError
from tasks.publishing import history, local, rollback
from tasks.publishing.acceptance_process import ArtefactRefused
from tasks.publishing.approvals import Approval, NeedsApproval
from tasks.publishing.model_versions import find_aliases, find_tags
from tasks.publishing.moves import describe_move
from tasks.publishing.publish import publish_candidate
from tasks.publishing.registry import ChampionMoved, find_champion, find_published
from tasks.publishing.rollback import roll_back
from tasks.records.writing import read_json
from tasks.tracking.runs import open_run
from tasks.tracking.store import open_client

from .conftest import NAME, SETTINGS, Workshop, enter_home, make_candidate

pytestmark = pytest.mark.filterwarnings("ignore:The PEFT config's")


@pytest.fixture(scope="module")
def rolled_back(succeeded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Roll back from version 2 to version 1, for real, in a home that tests must not change.

    What version 1 was compared with is gone from its folder, and comes from MLflow.
    """
    home = tmp_path_factory.mktemp("rolled-back") / "home"
    shutil.copytree(succeeded, home)
    with pytest.MonkeyPatch.context() as patch:
        enter_home(patch, home)
        shutil.rmtree(local.find_version_path(NAME, "1"))
        done = roll_back(NAME, None, who="ada@lab", reason="it swears")
        assert (done.move.version, done.move.replaced) == ("1", "2")
        assert done.report.passed
        assert {check.name for check in done.report.checks} >= {"weights", "logits", "answers"}
    return home


@pytest.fixture
def home_after(
    rolled_back: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    home = tmp_path / "home"
    shutil.copytree(rolled_back, home)
    enter_home(monkeypatch, home)
    return home


def test_all_that_belongs_to_a_version_moves_with_the_alias(home_after: Path) -> None:
    champion = find_champion(NAME)
    assert champion is not None
    assert (champion.version, champion.problem) == ("1", "")
    folder = home_after / champion.path
    assert {"tokenizer.json", "chat_template.jinja"} <= {path.name for path in folder.iterdir()}
    assert local.verify_artefact(folder) == ""


def test_it_is_recorded_who_rolled_back_and_why(home_after: Path) -> None:
    client = open_client()
    moves = history.read_history(client, NAME)
    assert [(m.action, m.version, m.replaced) for m in moves] == [
        ("published", "1", None), ("published", "2", "1"), ("rolled_back", "1", "2"),
    ]  # fmt: skip
    assert (moves[-1].who, moves[-1].reason) == ("ada@lab", "it swears")
    assert "ada@lab: it swears" in moves[-1].describe()
    assert "it swears" in find_tags(client, NAME, "2")["hone.rolled_back"]
    kept = read_json(local.find_version_path(NAME, "2") / local.MOVES)
    assert [move["action"] for move in kept] == ["published", "rolled_back"]
    assert kept[-1]["reason"] == "it swears"


def test_what_was_rolled_back_is_published_again_only_when_approved(
    workshop: Workshop, home_after: Path
) -> None:
    again = make_candidate(workshop, home_after, seed=2, champion="1")
    run = open_run("hone", again.run)
    assert local.find_version(NAME, again.trained.digest) is None
    assert find_published(NAME, again.trained.digest) is None
    assert local.find_rollback(NAME, again.trained.digest) is not None
    with pytest.raises(NeedsApproval, match="version 2, the same model, was rolled back"):
        publish_candidate(again, run, SETTINGS)
    other = Approval(decision_digest="0" * 64, reason="fixed", who="ada@lab")
    with pytest.raises(RequestError, match="its evidence is another"):
        publish_candidate(again, run, SETTINGS, approval=other)
    assert find_aliases(open_client(), NAME) == {"champion": "1"}
    approval = other.model_copy(update={"decision_digest": again.decision.digest})
    publication = publish_candidate(again, run, SETTINGS, approval=approval)
    assert publication.version == "2"  # the same decision: the version that it made
    assert find_aliases(open_client(), NAME) == {"champion": "2"}
    last = history.read_history(open_client(), NAME)[-1]
    assert (last.action, last.version, last.reason) == ("published", "2", "fixed")
    assert local.find_rollback(NAME, again.trained.digest) is None
    assert history.find_rollback(open_client(), NAME, "2") is None


def test_a_version_that_does_not_answer_as_it_did_stays_where_it_is(two_versions: Path) -> None:
    probes = local.find_version_path(NAME, "1") / local.PROBES / "probes.json"
    probes.write_text(probes.read_text().replace('"prediction": "', '"prediction": "Other: '))
    with pytest.raises(ArtefactRefused, match="answers: 0 of 6 as evaluated"):
        roll_back(NAME, "1", who="ada@lab", reason="")
    assert find_aliases(open_client(), NAME) == {"champion": "2"}
    assert len(history.read_history(open_client(), NAME)) == 2


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("other", None, "no model of this name"),
        (NAME, "9", "has no version 9"),
        (NAME, "../1", "has no version"),
        (NAME, "2", "is the champion already"),
    ],
)
def test_versions_that_cannot_be_rolled_back_to(
    succeeded: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str, message: str
) -> None:
    enter_home(monkeypatch, succeeded)
    with pytest.raises(RequestError, match=message):
        roll_back(name, version, who="ada@lab", reason="")


def test_the_first_version_has_nothing_before_it(published_home: Path) -> None:
    with pytest.raises(RequestError, match="none before it was"):
        roll_back(NAME, None, who="ada@lab", reason="")


def test_what_was_never_champion_is_not_rolled_back_to(two_versions: Path) -> None:
    open_client().delete_model_version_tag(NAME, "1", "hone.promoted")
    with pytest.raises(RequestError, match="was never champion"):
        roll_back(NAME, "1", who="ada@lab", reason="")


def test_the_champion_may_move_during_the_test(
    two_versions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move_meanwhile(*_: object) -> None:
        open_client().set_registered_model_alias(NAME, "champion", "1")

    monkeypatch.setattr(rollback, "test_version", move_meanwhile)
    with pytest.raises(ChampionMoved):
        roll_back(NAME, "1", who="ada@lab", reason="")


def test_a_version_without_its_probes_says_so(
    two_versions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def find_nothing(*_: object) -> None:
        raise OSError("No such artifact: 'probes'")  # MLflow's words

    shutil.rmtree(local.find_version_path(NAME, "1") / local.PROBES)
    monkeypatch.setattr(MlflowClient, "download_artifacts", find_nothing)
    with pytest.raises(RunError, match="compared with when it was published is gone"):
        roll_back(NAME, "1", who="ada@lab", reason="")


def test_a_move_that_was_cut_off_after_the_alias_is_in_the_history(
    two_versions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_client()
    before = history.read_history(client, NAME)
    move = describe_move("rolled_back", "1", "2", who="ada@lab", reason="cut off")
    with monkeypatch.context() as cut:
        settled: list[str] = []

        def be_killed(*_: object) -> None:
            if settled:
                raise KeyboardInterrupt
            settled.append("before")

        cut.setattr(history, "settle_history", be_killed)
        with pytest.raises(KeyboardInterrupt):
            history.move_champion(client, NAME, move)
    assert find_aliases(client, NAME) == {"champion": "1"}
    assert history.read_history(client, NAME) == before
    history.settle_history(client, NAME)
    history.settle_history(client, NAME)
    assert history.read_history(client, NAME) == [*before, move]
