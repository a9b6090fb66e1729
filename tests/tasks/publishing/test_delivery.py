from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import RunError
from configs.schema import PublishConfig
from tasks.publish import choose_delivery, deliver_champion
from tasks.publishing import local, publish
from tasks.publishing.candidates import Candidate
from tasks.publishing.delivery import (
    Delivery,
    check_delivery,
    deliver,
    follow_champion,
    list_missing,
    read_copies,
)
from tasks.publishing.model_versions import find_aliases
from tasks.publishing.publish import publish_candidate
from tasks.records.digests import digest_file
from tasks.records.writing import read_json, read_jsonl
from tasks.resolve import resolve_model
from tasks.tracking.runs import TrackedRun

from .conftest import NAME, SETTINGS, Workshop, register_without_test
from .test_hub import REPO, hub  # noqa: F401 a fixture
from .upload_server import UploadHub

EVERYWHERE = Delivery(targets=("local", "package", "hub"), repo=REPO)

pytestmark = pytest.mark.filterwarnings("ignore:The PEFT config's")


def test_the_config_says_where_and_a_person_may_say_otherwise() -> None:
    section = PublishConfig(targets=("hub",), hub_repo="lab/a")
    assert choose_delivery(section) == Delivery(("hub",), "lab/a", is_private=True)
    named = choose_delivery(section, targets=["package"], repo="lab/b", is_public=True)
    assert named == Delivery(("package",), "lab/b", is_private=False)
    check_delivery(named)  # nothing is asked of the hub


def test_a_version_goes_everywhere_once(two_versions: Path, hub: UploadHub) -> None:  # noqa: F811
    folder = local.find_version_path(NAME, "2")
    publication = local.read_publication(folder)
    assert publication is not None
    deliver_champion(publication, EVERYWHERE)
    assert list_missing(folder, EVERYWHERE) == []
    copies = read_copies(folder)
    assert copies.hub is not None
    assert copies.package is not None
    assert copies.places == (f"{hub.url}/{REPO}@v2", f"artifacts/packages/{NAME}-2.tar.gz")
    assert local.verify_artefact(folder) == ""
    hub.requests.clear()
    deliver_champion(publication, EVERYWHERE)
    assert hub.requests == []

    package = two_versions / copies.package.path
    assert digest_file(package) == copies.package.digest
    package.unlink()
    deliver(folder, EVERYWHERE)
    assert read_copies(folder).package == copies.package  # the same bytes again

    # The hub follows the champion back.
    first = local.find_version_path(NAME, "1")
    assert follow_champion(first, folder)
    repository = hub.repositories[REPO]
    weights = (first / "adapter_model.safetensors").read_bytes()
    assert repository.commits[repository.main]["adapter_model.safetensors"] == weights
    assert set(repository.tags) == {"v1", "v2"}
    assert list_missing(folder, EVERYWHERE) == ["hub"]


def test_a_package_is_a_model(two_versions: Path, workshop: Workshop) -> None:
    from tasks.evaluation.generation import generate_answers
    from tasks.records.observer import SilentObserver

    deliver(local.find_version_path(NAME, "2"), Delivery(("package",)))
    package = two_versions / "artifacts" / "packages" / f"{NAME}-2.tar.gz"
    resolved = resolve_model(str(package))
    facts = read_json(resolved.tokenizer_folder / "metadata.json")
    assert (facts["name"], facts["version"], facts["base_model"]) == (NAME, "2", "tiny-base")
    prompts = [workshop.renderer.render_prompt(example) for example in workshop.examples]
    with resolved.open() as model:
        answers = generate_answers(
            model, workshop.renderer, prompts,
            max_new_tokens=24, batch_size=8, observer=SilentObserver(),
        )  # fmt: skip
    rows = read_jsonl(two_versions / "evaluate-2" / "predictions" / "test.jsonl")
    assert [answer.text for answer in answers] == [row["prediction"] for row in rows]


def test_a_target_that_fails_leaves_the_champion_and_again_goes_on(
    candidate: Candidate,
    run: TrackedRun,
    hub: UploadHub,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publish, "_accept_and_register", register_without_test)
    hub.faults["commit"] = ["cut"] * 9
    with pytest.raises(RunError):
        publish_candidate(candidate, run, SETTINGS, delivery=EVERYWHERE)
    assert find_aliases(run.client, NAME) == {"challenger": "1"}
    hub.faults.clear()
    publication = publish_candidate(candidate, run, SETTINGS, delivery=EVERYWHERE)
    assert find_aliases(run.client, NAME) == {"champion": "1"}
    assert read_copies(publication.folder).hub is not None
    assert hub.repositories[REPO].tags.keys() == {"v1"}


def test_the_hub_that_is_away_does_not_stop_a_rollback(
    two_versions: Path,
    hub: UploadHub,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    second, first = local.find_version_path(NAME, "2"), local.find_version_path(NAME, "1")
    assert follow_champion(first, second)  # neither was ever there
    deliver(second, Delivery(("hub",), REPO))
    hub.faults["info"] = [500] * 9
    assert not follow_champion(first, second)
    assert "the hub failed (HTTP 500)" in caplog.text
    assert read_copies(first).hub is None


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    from tasks.resolve import release_models

    release_models()
