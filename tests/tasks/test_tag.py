from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.publishing.candidates import Lineage
from tasks.publishing.local import LINEAGE
from tasks.records.handles import PinnedModel, Publication
from tasks.records.writing import write_json
from tasks.tag import tag_data

if TYPE_CHECKING:
    from lakefs.repository import Repository


def write_version(home: Path, source: str, commit: str) -> Publication:
    lineage = Lineage(
        name="small", candidate_digest="0" * 64, model_files=(), method="lora", dtype="float32",
        base=PinnedModel(name="b", revision="r", location="l"), kind="messages",
        template_digest="", data_source=source, data_commit=commit, splits={}, run="run",
        code_revision="", decision_digest="", replaces=None, versions={},
    )  # fmt: skip
    folder = home / "artifacts" / "models" / "small" / "3"
    write_json(folder / LINEAGE, lineage.model_dump(mode="json"))
    return Publication(
        path=folder.relative_to(home).as_posix(), digest="", name="small", version="3",
        uri="models:/small/3", decision_digest="",
    )  # fmt: skip


def commit_text(repository: Repository, text: str) -> str:
    branch = repository.branch("main")
    branch.object("rows.txt").upload(text.encode())
    return str(branch.commit(text).id)


def test_the_data_commit_of_a_version_is_tagged(
    home: Path, lakefs_repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    source = f"lakefs://{lakefs_repository.id}/main/rows.txt"
    one, two = commit_text(lakefs_repository, "one"), commit_text(lakefs_repository, "two")
    version = write_version(home, source, one)
    assert tag_data(version) == tag_data(version) == "small-v3"
    assert lakefs_repository.tag("small-v3").get_commit().id == one
    with caplog.at_level(logging.WARNING, "hone"):
        assert tag_data(write_version(home, source, two)) is None
    assert "is on another commit" in caplog.text
    assert lakefs_repository.tag("small-v3").get_commit().id == one


def test_data_from_elsewhere_has_no_tag(home: Path) -> None:
    assert tag_data(write_version(home, "data/flowroll", "0" * 40)) is None


def test_a_commit_that_cannot_be_tagged_is_a_warning(
    home: Path, lakefs_repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    version = write_version(home, f"lakefs://{lakefs_repository.id}/main", "f" * 64)
    with caplog.at_level(logging.WARNING, "hone"):
        assert tag_data(version) is None
    assert "has no tag small-v3" in caplog.text
