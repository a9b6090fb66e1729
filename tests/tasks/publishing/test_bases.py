from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from configs.errors import RequestError
from tasks.publishing.bases import describe_base, find_base, name_base
from tasks.records.handles import PinnedModel

from .conftest import Workshop


def test_a_local_base_is_named_by_its_files(workshop: Workshop, home: Path) -> None:
    base = describe_base(workshop.base)
    assert base.name == "tiny-base"
    assert set(base.files) == {"config.json", "model.safetensors"}
    assert find_base(base) == (workshop.base.location, None)


def test_a_base_that_moved_is_named_by_the_environment(
    workshop: Workshop, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = describe_base(workshop.base)
    moved = base.model_copy(update={"location": str(tmp_path / "gone")})
    with pytest.raises(RequestError, match="set HONE_BASE_MODEL to the folder"):
        find_base(moved)
    shutil.copytree(workshop.base.location, tmp_path / "here")
    monkeypatch.setenv("HONE_BASE_MODEL", str(tmp_path / "here"))
    assert find_base(moved) == (str(tmp_path / "here"), None)


def test_a_hub_base_is_named_by_its_commit(home: Path, tmp_path: Path) -> None:
    commit = "a" * 40
    (tmp_path / commit).mkdir()
    pinned = PinnedModel(name="org/model", revision=commit, location=str(tmp_path / commit))
    assert name_base(pinned) == "org/model"
    base = describe_base(pinned)
    assert (base.location, base.files) == ("", {})
    assert find_base(base) == ("org/model", commit)
