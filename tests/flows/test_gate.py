"""What becomes of candidates that are not better, of rivals, and of runs that stop on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.conftest import CallHone, RunFlow
from tests.flows.running import Outcome, list_runs, list_versions


@pytest.mark.usefixtures("on_server")
def test_a_learning_rate_of_zero_is_never_published(
    warm_home: Path, preset: Path, call_hone: CallHone
) -> None:
    change = ("--set", "training.learning_rate=0", "--set", "training.max_steps=4")
    outcome = call_hone("run", str(preset), *change, "--json")
    assert outcome.code == 2, outcome.stderr
    assert outcome.result["verdict"] == "not_better"
    assert outcome.result["publication"] is None
    assert outcome.result["reused"] == ["version", "format", "evaluate-baseline"]
    assert list_versions(warm_home) == []
    report = (list_runs(warm_home)[-1] / "report.md").read_text(encoding="utf-8")
    assert "identical to the baseline" in report


def test_a_run_stops_after_a_stage_and_the_next_goes_on(home: Path, run_flow: RunFlow) -> None:
    change = ("training.max_steps=2", "training.learning_rate=0")
    done: list[str] = []
    expected = (
        ("version", ["version"]),
        ("format", ["format"]),
        ("train", ["evaluate-baseline", "train"]),
        ("evaluate", ["evaluate-finetuned"]),
        ("decide", ["decide"]),
    )
    for until, new in expected:
        result = run_flow(*change, until=until)
        assert list(result.reused) == done
        done += new
        assert list(result.seconds) == done
        assert (result.run_dir is None) == (until in {"version", "format"})
        assert (result.verdict is None) == (until != "decide")
        assert result.publication is None
    assert len(list_runs(home)) == 3


def test_another_candidate_is_compared_with_the_champion(
    published: Outcome, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_HOME", str(published.home))
    result = run_flow("training.max_steps=12", "training.seed=7")
    assert set(result.metrics) == {"baseline", "finetuned", "champion"}
    assert "evaluate-champion" in result.reused  # it was once a candidate
    assert "train" not in result.reused
    assert result.verdict != "better"  # both answer every question
    assert result.publication is None
    assert list_versions(published.home) == ["1"]
