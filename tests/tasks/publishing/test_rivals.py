"""Two publishers at once: one champion, a correct history, no decision about an old opponent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.publishing import local
from tasks.publishing.model_versions import find_aliases
from tasks.records.home import find_project
from tasks.tracking.store import open_client

from .conftest import NAME, Workshop

SECONDS = 400


@pytest.mark.long
@pytest.mark.slow
def test_the_second_of_two_publishers_is_decided_upon_again(
    workshop: Workshop, home: Path, base_folder: Path, tmp_path: Path
) -> None:
    signs = tmp_path / "signs"
    signs.mkdir()
    command = [sys.executable, "-m", "tests.flows.rival"]
    rivals = [
        subprocess.Popen(
            [*command, str(seed), str(base_folder), str(signs), "2"],
            cwd=find_project(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for seed in (1, 2)
    ]  # fmt: skip
    ended = [rival.communicate(timeout=SECONDS) for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0], ended
    said = sorted((json.loads(stdout.splitlines()[-1]) for stdout, _ in ended), key=str)
    # Both decided against no champion; the later one met the other as champion, and decided again.
    assert said == [
        {"opponents": [None, "1"], "version": "2"}, {"opponents": [None], "version": "1"},
    ]  # fmt: skip
    assert find_aliases(open_client(), NAME) == {"champion": "2"}
    decisions = [local.read_decision(local.find_version_path(NAME, v)) for v in ("1", "2")]
    assert [decision.champion_version for decision in decisions] == [None, "1"]
    assert decisions[0].candidate_digest != decisions[1].candidate_digest
    lineage = local.read_lineage(local.find_version_path(NAME, "2"))
    assert lineage is not None
    assert lineage.replaces == "1"
