from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks import announce
from tasks.publishing.approvals import Question, write_question
from tasks.records.handles import Decision, Publication
from tasks.records.results import StageResults
from tasks.records.runs import RunFolder

RUN = RunFolder(path="outputs/runs/20260101T000000Z-aaaaaa")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(announce, "emit_event", lambda **event: found.append(event))
    return found


@pytest.fixture(autouse=True)
def _in_home(home: Path) -> None:
    """Runs lie in a HONE_HOME of the test's own."""


def ask_for_approval() -> None:
    now = datetime.now(UTC)
    write_question(RUN.folder, Question(
        decision_digest="e" * 64, evidence={}, why="it is asked for", asked=now, expires=now,
    ))  # fmt: skip


def make_results(verdict: str, *, reused: bool = False, version: str | None = None) -> StageResults:
    results = StageResults()
    results.note("decide", Decision.model_validate({
        "path": "d", "digest": "e" * 64, "verdict": verdict, "reasons": ("so it is. ",) * 100,
        "checks": (), "model_name": "small", "candidate_digest": "c", "champion_version": None,
        "evidence": {}, "look": 2, "alpha": 0.01, "smallest_detectable_gain": {}, "reused": reused,
    }))  # fmt: skip
    if version:
        results.note("publish", Publication(
            path="p", digest="d", name="small", version=version, uri=f"models:/small/{version}",
            decision_digest="e" * 64, reused=reused,
        ))  # fmt: skip
    return results


@pytest.mark.parametrize(
    ("verdict", "version", "event"),
    [
        ("better", "3", "hone.published"),
        ("better", None, "hone.waiting"),
        ("not_better", None, "hone.declined"),
        ("inconclusive", None, "hone.declined"),
    ],
)
def test_what_became_of_a_run_is_announced_once(
    events: list[dict[str, Any]], verdict: str, version: str | None, event: str
) -> None:
    if event == "hone.waiting":
        ask_for_approval()
    announce.announce_end("small", RUN, make_results(verdict, version=version))
    [found] = events
    assert found["event"] == event
    assert found["resource"]["prefect.resource.id"] == "hone.model.small"
    payload = found["payload"]
    assert (payload["verdict"], payload["look"], payload["run"]) == (verdict, 2, RUN.path)
    assert payload["version"] == (version or "")
    assert len(payload["reason"]) == announce.MAX_REASON


def test_an_unchanged_run_and_one_without_a_decision_announce_nothing(
    events: list[dict[str, Any]],
) -> None:
    assert announce.announce_end("small", RUN, StageResults()) is None
    # It stopped after the decision: nobody was asked anything.
    assert announce.announce_end("small", RUN, make_results("better")) is None
    ask_for_approval()
    for version in ("3", None):
        announce.announce_end("small", RUN, make_results("better", reused=True, version=version))
    assert events == []


def test_drift_is_announced_with_its_figures(events: list[dict[str, Any]]) -> None:
    announce.announce_drift("small", "3", reason="worse. " * 200, source="fresh.jsonl", num_rows=70)
    [found] = events
    assert found["event"] == "hone.drifted"
    assert found["resource"]["prefect.resource.id"] == "hone.model.small"
    payload = found["payload"]
    assert (payload["uri"], payload["source"], payload["rows"]) == (
        "models:/small/3", "fresh.jsonl", 70,
    )  # fmt: skip
    assert len(payload["reason"]) == announce.MAX_REASON
