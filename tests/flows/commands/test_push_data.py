from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.flows.conftest import CallHone
from tests.flows.running import make_row, write_rows

if TYPE_CHECKING:
    from lakefs.repository import Repository


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "data" / "train.jsonl", [make_row(f"Put {n} away.") for n in range(5)])
    return tmp_path / "data"


def test_a_push_ends_with_0_and_again_with_nothing_changed(
    lakefs_repository: Repository, folder: Path, call_hone: CallHone
) -> None:
    place = ("--repository", lakefs_repository.id, "--branch", "main", "--path", "rows")
    outcome = call_hone("data", "push", str(folder), *place, "--metadata", "ticket=7", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.result["commit"] == lakefs_repository.branch("main").head.id
    assert outcome.result["rows"]["kept"] == 5
    again = call_hone("data", "push", str(folder), *place)
    assert again.code == 0
    assert again.stdout.startswith("nothing changed")


def test_a_refused_push_ends_with_3_and_lists_the_rows(
    lakefs_repository: Repository, folder: Path, call_hone: CallHone
) -> None:
    (folder / "more.jsonl").write_text('{"messages": 1}\n')
    place = ("--repository", lakefs_repository.id, "--branch", "main")
    outcome = call_hone("data", "push", str(folder), *place, "--json")
    assert outcome.code == 3
    assert "1 of 6 rows are invalid" in outcome.result["error"]["message"]
    assert outcome.result["error"]["problems"][0].startswith("more.jsonl:1")
    assert list(lakefs_repository.branch("main").objects()) == []


def test_wrong_keys_end_with_3(
    lakefs_repository: Repository,
    folder: Path,
    call_hone: CallHone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAKEFS_SECRET_KEY", "not-the-secret")
    place = ("--repository", lakefs_repository.id, "--branch", "main")
    outcome = call_hone("data", "push", str(folder), *place)
    assert outcome.code == 3
    assert "401" in outcome.stderr
    assert "not-the-secret" not in outcome.stderr
