"""LLaMA-Factory's environment: named, found, made once, never half."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from configs.errors import RequestError, RunError
from tasks.training.engines.llamafactory import environment
from tasks.training.engines.llamafactory.environment import (
    CONSTRAINTS,
    FINISHED,
    VARIABLE,
    VERSION,
    find_engine_versions,
    find_folder,
    find_python,
    provide_python,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HONE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def make_folder(folder: Path) -> Path:
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return python


def test_named_environment_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = make_folder(home / "own")
    monkeypatch.setenv(VARIABLE, str(home / "own"))
    assert find_python() == provide_python() == python
    monkeypatch.setenv(VARIABLE, str(home / "other"))
    with pytest.raises(RequestError, match=r"HONE_LLAMAFACTORY: .*no bin/python"):
        provide_python()


def test_versions_are_known_before_it_is_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = find_engine_versions()
    assert pinned["llamafactory/llamafactory"] == VERSION
    assert "absent" not in pinned.values()
    place = home / "own" / "lib" / "python3.12" / "site-packages" / "torch-2.9.0.dist-info"
    place.mkdir(parents=True)
    monkeypatch.setenv(VARIABLE, str(home / "own"))
    found = find_engine_versions()
    assert found["llamafactory/torch"] == "2.9.0"
    assert found["llamafactory/peft"] == "absent"


def test_half_made_environment_is_none(home: Path) -> None:
    python = make_folder(find_folder())
    assert find_python() is None
    (find_folder() / FINISHED).write_text(VERSION)
    assert find_python() == provide_python() == python


def test_folder_changes_with_the_pins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = find_folder()
    assert before.is_relative_to(home / "cache" / "environments")
    pins = home / "pins.txt"
    pins.write_text("llamafactory==0.9.5\n")
    monkeypatch.setattr(environment, "CONSTRAINTS", pins)
    assert find_folder() != before


def test_pins_are_names_and_versions_only() -> None:
    lines = CONSTRAINTS.read_text().splitlines()
    assert lines == sorted(lines)
    assert f"llamafactory=={VERSION}" in lines
    for line in lines:
        name, _, version = line.partition("==")
        assert name.replace("-", "").replace(".", "").replace("_", "").isalnum()
        assert version.replace(".", "").replace("+", "").replace("post", "").isalnum()


def test_failed_installation_says_why_and_leaves_no_marker(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that is a missing folder: nothing can be had, and no network is asked."""
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, (home / "nothing").as_uri())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    with pytest.raises(RunError, match="could not be installed") as caught:
        provide_python()
    assert any("llamafactory" in line for line in caught.value.problems)
    assert VARIABLE in caught.value.hint
    assert find_python() is None
