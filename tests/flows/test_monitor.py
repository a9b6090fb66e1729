"""The drift check of a published model: what it says, what it leaves out, whom it tells."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from configs.errors import HoneError, RequestError
from flows.monitor import monitor
from tasks import announce
from tasks.drift import DRIFT_TAG, Drift, read_published
from tasks.figures import INTERVALS
from tasks.publishing import local
from tasks.publishing.model_versions import find_tags
from tasks.records.writing import read_json, read_jsonl, write_json
from tasks.tracking.store import open_client
from tests.flows.running import Outcome, make_row, write_rows

NAME = "small"
TOOLS = ("anvil", "brush", "chisel", "drill", "file", "gimlet", "hammer", "jack", "level", "mallet")
ROOMS = ("barn", "den", "loft", "shed", "yard")


@pytest.fixture
def source(published: Outcome, home: Path, tmp_path: Path) -> Path:
    """Where fresh rows will lie, and a HONE_HOME in which the small task is published."""
    shutil.rmtree(home)
    shutil.copytree(published.home, home, symlinks=True)
    return tmp_path / "fresh.jsonl"


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(announce, "emit_event", lambda **event: found.append(event))
    return found


def list_fresh(answer: str = "Done.") -> list[dict[str, Any]]:
    return [make_row(f"Put {tool} in the {room}.", answer) for tool in TOOLS for room in ROOMS]


def check(source: Path, **overrides: Any) -> Drift:
    return monitor(
        NAME, str(source), overrides={k.replace("__", "."): v for k, v in overrides.items()}
    )


def test_a_version_keeps_the_interval_of_its_report(source: Path, home: Path) -> None:
    folder = local.find_version_path(NAME, "1")
    drawn = home.glob(f"cache/figures/*/{INTERVALS}")  # other tests may have run there since
    shown = read_json(min(drawn, key=lambda file: file.stat().st_mtime_ns))["finetuned"]["test"]
    kept = read_published(folder)
    assert list(kept) == ["exact_match"]
    for name, interval in kept.items():
        assert interval.value == shown[name][0]
        assert (interval.rows, interval.groups) == (40, 40)
        assert interval.lower is not None
        assert interval.lower <= shown[name][1]
    assert local.verify_artefact(folder) == ""


def test_rows_like_those_of_the_publication_are_steady(
    on_server: None, source: Path, events: list[dict[str, Any]]
) -> None:
    found = check(write_rows(source, list_fresh()))
    assert (found.verdict, found.version, found.scored) == ("steady", "1", 50)
    assert found.reason in find_tags(open_client(), NAME, "1")[DRIFT_TAG]
    assert events == []


def test_a_fallen_score_is_drift_and_is_told_once(
    on_server: None, source: Path, home: Path, events: list[dict[str, Any]]
) -> None:
    write_rows(source, list_fresh("Later."))
    found = check(source)
    assert (found.verdict, found.reused) == ("drifted", False)
    [finding] = found.metrics
    assert finding.fresh.value == 0.0
    [event] = events
    assert event["event"] == "hone.drifted"
    assert event["resource"]["prefect.resource.id"] == "hone.model.small"
    assert event["payload"]["source"] == "fresh.jsonl"  # no path of this machine
    assert find_tags(open_client(), NAME, "1")[DRIFT_TAG].endswith(found.reason)
    evaluations = set(home.glob("cache/evaluate/*"))
    again = check(source)
    assert again == found.model_copy(update={"reused": True})
    assert set(home.glob("cache/evaluate/*")) == evaluations
    assert len(events) == 1


def test_a_few_rows_tell_nothing_whatever_they_say(
    on_server: None, source: Path, events: list[dict[str, Any]]
) -> None:
    rows = [*list_fresh()[:4], *list_fresh("Later.")[4:5]]
    found = check(write_rows(source, rows))
    assert found.verdict == "too_few_rows"
    assert "too few rows to tell" in found.reason
    assert events == []


def test_what_the_champion_has_seen_is_left_out_and_counted(
    on_server: None, source: Path, preset: Path, home: Path
) -> None:
    data = preset.parent / "data"
    trained, tested = read_jsonl(data / "train.jsonl"), read_jsonl(data / "eval" / "test.jsonl")
    formatted = next(home.glob("cache/format/*/examples"))
    validated = {
        row["messages"][0]["content"] for row in read_jsonl(formatted / "validation.jsonl")
    }
    assert validated
    # Another answer to a prompt that was trained on is no fresh row either.
    seen = [make_row(row["messages"][0]["content"], "Later.") for row in (*trained, *tested)]
    broken = {"messages": [{"role": "user", "content": "And nobody answers."}]}
    write_rows(source, [*list_fresh(), *seen, broken])
    with pytest.raises(RequestError, match="invalid"):
        check(source)
    found = check(source, data__max_invalid_fraction=0.01)
    rows = found.rows
    assert (rows.read, rows.kept, rows.invalid, rows.filtered) == (191, 190, 1, 0)
    assert (found.trained, found.decided) == (100 - len(validated), 40 + len(validated))
    assert (found.scored, found.verdict) == (50, "steady")


def test_the_splits_of_the_source_stay_open(on_server: None, source: Path, home: Path) -> None:
    before = {path: path.read_bytes() for path in (home / "splits").rglob("*") if path.is_file()}
    check(write_rows(source, list_fresh()[:5]))
    after = {path: path.read_bytes() for path in (home / "splits").rglob("*") if path.is_file()}
    assert after == before


def test_a_folder_is_scored_with_its_evaluation_sets(on_server: None, source: Path) -> None:
    folder, rows = source.parent / "fresh", list_fresh()
    write_rows(folder / "monday.jsonl", rows[:20])
    write_rows(folder / "tuesday.jsonl", [*rows[20:40], rows[0]])
    write_rows(folder / "eval" / "dev.jsonl", rows[40:])
    found = check(folder)
    assert (found.rows.kept, found.scored) == (51, 51)  # a row that comes twice counts twice
    assert found.metrics[0].fresh.groups == 50
    one = check(folder, data__pattern="monday.jsonl")
    assert one.scored == 30


def test_each_wrong_request_is_one_clear_error(on_server: None, source: Path, preset: Path) -> None:
    write_rows(source, list_fresh()[:5])
    with pytest.raises(RequestError, match="nothing is published as never"):
        monitor("never", str(source))
    with pytest.raises(RequestError, match=r"missing\.jsonl"):
        check(source.with_name("missing.jsonl"))
    with pytest.raises(HoneError, match="no row is fresh"):
        check(preset.parent / "data" / "train.jsonl")
    unlabelled = [{"messages": [{"role": "user", "content": f"What is {n}?"}]} for n in range(5)]
    with pytest.raises(RequestError):
        check(write_rows(source.with_name("unlabelled.jsonl"), unlabelled))
    write_rows(source.with_name("texts.jsonl"), [{"text": "So it goes."}])
    with pytest.raises(RequestError, match="its rows are text, the champion was trained on mess"):
        check(source.with_name("texts.jsonl"))
    with pytest.raises(RequestError, match="exact_match decided on the publication"):
        check(source, evaluation__metrics=["nll"])


def test_a_version_without_its_interval_says_so(on_server: None, source: Path) -> None:
    write_rows(source, list_fresh()[:5])
    folder = local.find_version_path(NAME, "1")
    (folder / local.INTERVALS).unlink()
    digests = read_json(folder / local.DIGESTS)
    del digests[local.INTERVALS]
    write_json(folder / local.DIGESTS, digests)
    with pytest.raises(RequestError, match="published by an earlier hone"):
        check(source)
