from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.formatting.inspection.dropped_rows import NUM_LISTED, add_dropped_rows
from tasks.records.writing import read_json, write_json, write_jsonl


def test_every_reason_is_counted_and_its_first_rows_are_named(tmp_path: Path) -> None:
    ends = [("invalid", "broken_json")] * 7 + [("filtered", "overlap"), ("kept", "")]
    entries: list[dict[str, Any]] = [
        {"origin": f"a.jsonl:{n}", "outcome": end, "reason": why, "detail": f"{why} | here"}
        for n, (end, why) in enumerate(ends, start=1)
    ]
    write_jsonl(tmp_path / "ledger.jsonl", entries)
    counts = {"read": 9, "kept": 1, "invalid": 7, "filtered": 1, "cut": 0}
    reasons = {"invalid": {"broken_json": 7}, "filtered": {"overlap": 1}}
    write_json(tmp_path / "ledger.json", {"rows": counts, **reasons})
    found = add_dropped_rows(tmp_path, "all 8 rows of train were dropped")
    assert len(found.problems) == NUM_LISTED + 1
    assert found.problems[-1] == "a.jsonl:8: overlap | here"
    figures = read_json(tmp_path / "inspection.json")
    assert figures["rows"] == counts
    assert figures["warnings"] == ["all 8 rows of train were dropped"]
    page = (tmp_path / "data_report.md").read_text(encoding="utf-8")
    for line in ("- all 8 rows of train", "| invalid | broken_json | 7 |", "- a.jsonl:1: "):
        assert line in page
