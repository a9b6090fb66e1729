from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.publishing import local
from tasks.publishing.registry import find_champion, find_published, find_version_folder
from tasks.tracking.store import open_client

from .conftest import NAME, Workshop, enter_home


@pytest.fixture
def own_home(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test a copy of the home with one published version, which it may change."""
    home = tmp_path / "home"
    shutil.copytree(published, home)
    enter_home(monkeypatch, home)
    return home


def test_nothing_published_needs_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_home(monkeypatch, tmp_path)
    assert find_champion(NAME) is None
    with pytest.raises(RequestError, match="nothing was published"):
        find_version_folder(f"models:/{NAME}@champion")
    assert list(tmp_path.iterdir()) == []


def test_another_name_has_no_champion(published_home: Path) -> None:
    assert find_champion("other") is None


def test_the_champion_can_be_loaded_and_scored(workshop: Workshop, published_home: Path) -> None:
    champion = find_champion(NAME)
    assert champion is not None
    assert (champion.version, champion.problem) == ("1", "")
    assert champion.reference.base == workshop.base
    assert champion.reference.path == f"artifacts/models/{NAME}/1"
    assert champion.reference.digest == champion.digest


def test_a_damaged_folder_is_fetched_from_the_registry(own_home: Path) -> None:
    folder = local.find_version_path(NAME, "1")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    champion = find_champion(NAME)
    assert champion is not None
    assert champion.problem == ""
    assert local.verify_artefact(folder) == ""
    assert local.find_version(NAME, champion.digest) is not None


def test_a_champion_that_cannot_be_had_says_why(own_home: Path) -> None:
    client = open_client()
    client.set_model_version_tag(NAME, "1", "hone.candidate_digest", "0" * 64)
    champion = find_champion(NAME)
    assert champion is not None
    assert "not what the registry calls version 1" in champion.problem
    assert champion.lineage is None


def test_a_publication_cut_off_after_the_alias_is_completed(own_home: Path) -> None:
    publication = local.find_version_path(NAME, "1") / "publication.json"
    publication.unlink()
    champion = find_champion(NAME)
    assert champion is not None
    assert publication.is_file()
    assert local.find_version(NAME, champion.digest) is not None


@pytest.mark.parametrize("uri", [f"models:/{NAME}@champion", f"models:/{NAME}/1"])
def test_versions_are_found_by_uri(published_home: Path, uri: str) -> None:
    assert find_version_folder(uri) == local.find_version_path(NAME, "1")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"models:/{NAME}@challenger", "no such version; allowed: champion"),
        (f"models:/{NAME}/7", "no such version"),
        ("models:/other@champion", "no such version; allowed: none published"),
        ("models:/x", "not a registered model"),
    ],
)
def test_unknown_versions_are_named(published_home: Path, uri: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        find_version_folder(uri)


@pytest.mark.parametrize("damage", ["publication", "cut publication", "folder", "digests", "model"])
def test_a_published_candidate_is_found_whatever_became_of_its_folder(
    own_home: Path, damage: str
) -> None:
    champion = find_champion(NAME)
    assert champion is not None
    folder = local.find_version_path(NAME, "1")
    before = local.read_publication(folder)
    assert before is not None
    if damage == "publication":
        (folder / "publication.json").unlink()
    elif damage == "cut publication":
        (folder / "publication.json").write_text("{")
    elif damage == "folder":
        shutil.rmtree(folder)
    elif damage == "digests":
        (folder / "digests.json").write_text("[1")
    else:
        (folder / "adapter_model.safetensors").write_bytes(b"")
    assert local.find_version(NAME, champion.digest) is None
    found = find_published(NAME, champion.digest)
    assert found == before.model_copy(update={"reused": True})
    assert local.find_version(NAME, champion.digest) == found
    assert find_published(NAME, "0" * 64) is None
    assert find_published("other", champion.digest) is None


def test_a_version_that_was_never_promoted_is_not_published(own_home: Path) -> None:
    champion = find_champion(NAME)
    assert champion is not None
    client = open_client()
    client.delete_registered_model_alias(NAME, "champion")
    assert find_published(NAME, champion.digest) is not None  # it was the champion once
    client.delete_model_version_tag(NAME, "1", "hone.promoted")
    assert find_published(NAME, champion.digest) is None


def test_a_version_that_is_not_from_hone_is_a_clear_error(own_home: Path) -> None:
    client = open_client()
    client.delete_model_version_tag(NAME, "1", "hone.model_id")
    shutil.rmtree(local.find_version_path(NAME, "1"))
    champion = find_champion(NAME)
    assert champion is not None
    assert "no tag hone.model_id" in champion.problem
