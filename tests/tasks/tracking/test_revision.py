from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.records import digests
from tasks.tracking import revision
from tasks.tracking.revision import find_code_revision


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a clone in a folder of its own, with one committed source."""
    for package in revision.PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "code.py").write_text("x = 1\n")
    for module in (revision, digests):
        monkeypatch.setattr(module, "find_project", lambda: tmp_path)
    clear_caches()
    yield tmp_path
    clear_caches()


def clear_caches() -> None:
    find_code_revision.cache_clear()
    digests.digest_code.cache_clear()


def commit_all(clone: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(clone), *command], check=True)


def test_without_git_the_sources_are_named(clone: Path) -> None:
    assert find_code_revision().startswith("uncommitted.")


def test_a_clean_clone_is_its_commit(clone: Path) -> None:
    commit_all(clone)
    (clone / "notes.txt").write_text("untracked files do not count")
    assert len(find_code_revision()) == 40


def test_a_changed_clone_says_so(clone: Path) -> None:
    commit_all(clone)
    clean = find_code_revision()
    (clone / "flows" / "code.py").write_text("x = 2\n")
    clear_caches()
    assert find_code_revision().startswith(f"{clean}-dirty.")
