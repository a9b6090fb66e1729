from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tasks.formatting.rows.examples import digest_prompt, read_examples
from tasks.publishing import local
from tasks.publishing.candidates import Candidate
from tasks.records.home import find_home
from tasks.records.writing import read_json

from .conftest import NAME


@pytest.fixture
def artefact(candidate: Candidate, tmp_path: Path) -> Path:
    local.build_artefact(candidate, tmp_path / "artefact")
    return tmp_path / "artefact"


def test_an_artefact_is_the_same_each_time(candidate: Candidate, artefact: Path) -> None:
    again = artefact.with_name("again")
    local.build_artefact(candidate, again)
    assert (again / "digests.json").read_bytes() == (artefact / "digests.json").read_bytes()
    assert local.verify_artefact(again) == ""


def test_a_version_knows_the_prompts_that_it_was_trained_on(
    candidate: Candidate, artefact: Path
) -> None:
    examples = read_examples(candidate.formatted.folder / "examples" / "train.jsonl")
    expected = {digest_prompt(example.messages, example.text) for example in examples}
    assert expected
    assert local.read_training_prompts(artefact) == expected


def test_a_version_knows_what_decided_on_it(candidate: Candidate, artefact: Path) -> None:
    examples = read_examples(candidate.formatted.folder / "examples" / "test.jsonl")
    expected = {digest_prompt(example.messages, example.text) for example in examples}
    assert local.read_deciding_prompts(artefact) == expected
    assert read_json(artefact / local.INTERVALS) == candidate.intervals


def test_a_version_is_found_when_it_is_complete(candidate: Candidate, artefact: Path) -> None:
    digest = candidate.trained.digest
    assert local.find_version(NAME, digest) is None
    folder = local.copy_artefact(artefact, NAME, "1")
    assert local.find_version(NAME, digest) is None
    published = local.write_publication(folder)
    found = local.find_version(NAME, digest)
    assert found == published.model_copy(update={"reused": True})
    assert found is not None
    assert (found.uri, found.folder) == (f"models:/{NAME}/1", folder)
    assert local.find_version(NAME, "0" * 64) is None


def test_a_damaged_version_is_not_found(candidate: Candidate, artefact: Path) -> None:
    folder = local.copy_artefact(artefact, NAME, "1")
    local.write_publication(folder)
    (folder / "config.yaml").write_text("learning_rate: 1\n")
    assert local.verify_artefact(folder) == f"{folder / 'config.yaml'} was changed"
    assert local.find_version(NAME, candidate.trained.digest) is None


def test_copying_again_changes_nothing_or_repairs(artefact: Path) -> None:
    folder = local.copy_artefact(artefact, NAME, "3")
    local.write_publication(folder)
    assert local.copy_artefact(artefact, NAME, "3") == folder
    assert (folder / "publication.json").is_file()
    (folder / "lineage.json").unlink()
    local.copy_artefact(artefact, NAME, "3")
    assert local.verify_artefact(folder) == ""


def test_a_copy_that_is_cut_off_is_never_seen(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_half(source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        (target / "README.md").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(shutil, "copytree", copy_half)
        with pytest.raises(KeyboardInterrupt):
            local.copy_artefact(artefact, NAME, "1")
    assert local.list_versions(NAME) == []
    folder = local.copy_artefact(artefact, NAME, "1")
    assert local.verify_artefact(folder) == ""


def test_versions_are_numbers(home: Path) -> None:
    for version in ("10", "9", "notes"):
        local.find_version_path(NAME, version).mkdir(parents=True)
    assert [path.name for path in local.list_versions(NAME)] == ["9", "10"]
    assert find_home() in local.find_version_path(NAME, "9").parents
