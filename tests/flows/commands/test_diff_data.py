from __future__ import annotations

from pathlib import Path

from tests.flows.conftest import CallHone
from tests.flows.running import make_row, write_rows


def test_a_comparison_is_told_in_rows(tmp_path: Path, call_hone: CallHone) -> None:
    for name, answer in (("first", "No."), ("second", "Yes.")):
        write_rows(tmp_path / name / "train.jsonl", [make_row("Is it?", answer), make_row("Why?")])
    folders = (str(tmp_path / "first"), str(tmp_path / "second"))
    outcome = call_hone("data", "diff", *folders, "--json")
    assert outcome.code == 0, outcome.stderr
    counts = {key: outcome.result[key] for key in ("added", "removed", "changed")}
    assert counts == {"added": 0, "removed": 0, "changed": 1}
    assert outcome.result["files"][0]["unchanged"] == 1
    shown = call_hone("data", "diff", *folders)
    assert "rows     0 added, 0 removed, 1 changed; 0 files are equal" in shown.stdout


def test_a_version_that_is_nowhere_ends_with_3(tmp_path: Path, call_hone: CallHone) -> None:
    outcome = call_hone("data", "diff", str(tmp_path), "nowhere")
    assert outcome.code == 3
    assert "nowhere" in outcome.stderr
