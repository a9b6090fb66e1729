from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.load import load_config
from flows.commands.inspect_data import is_preset, load_request
from tests.flows.conftest import CallHone
from tests.flows.running import NUM_TEST_ROWS, ROOT, make_row, write_rows

WORDS = (
    "amber", "basil", "cedar", "daisy", "ember", "fern", "grape", "hazel", "iris", "jade", "kelp",
    "lemon",
)  # fmt: skip


def make_rows(num_rows: int, start: int = 0) -> list[dict[str, Any]]:
    """Rows that are no near-duplicates of one another."""
    return [
        make_row(
            f"{WORDS[n % 12]} {WORDS[n // 12 % 12]} {n * 7919}?", f"{n * 104729} {WORDS[n % 11]}."
        )
        for n in range(start, start + num_rows)
    ]


def test_a_preset_is_inspected_as_a_run_reads_it(
    call_hone: CallHone, preset: Path, tmp_path: Path
) -> None:
    outcome = call_hone(
        "data", "inspect", str(preset), "--output", str(tmp_path / "page"), "--json"
    )
    assert outcome.code == 0, outcome.stderr
    found = outcome.result
    assert found["format"] == "messages"
    assert found["rows"] == {"read": 140, "kept": 140, "invalid": 0, "filtered": 0, "cut": 0}
    plan = call_hone("plan", str(preset), "--json").result
    assert found["rows"] == plan["rows"]
    assert found["splits"] == {name: split["rows"] for name, split in plan["splits"].items()}
    for name, split in plan["splits"].items():
        tokens = found["lengths"]["tokens"][name]
        assert tokens["num"] == split["rows"]
        assert round(tokens["mean"] * tokens["num"]) == pytest.approx(split["tokens"], rel=0.01)
    assert found["roles"] == {"assistant": 140, "user": 140}
    assert found["evaluation_sets"] == ["test"]
    assert found["splits"]["test"] == NUM_TEST_ROWS
    assert (tmp_path / "page" / "lengths.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "page" / "data_report.md").read_text(encoding="utf-8")
    for title in ("## Warnings", "## Rows", "## Lengths in tokens", "## Turns by role"):
        assert title in page
    assert "⟦" in (tmp_path / "page" / "preview.md").read_text(encoding="utf-8")


def test_a_file_with_every_flaw_is_described_and_not_refused(
    call_hone: CallHone, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    rows = make_rows(60)
    leak, twin = make_row(rows[0]["messages"][0]["content"], "Other."), rows[1]
    mail = make_row("Where do I write to?", "To jane.doe@example.com, I think.")
    write_rows(folder / "train.jsonl", [*rows[1:], twin, leak, mail])
    write_rows(folder / "eval" / "test.jsonl", [rows[0], *make_rows(4, start=100)])
    with (folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"messages": [{"role": "bot", "content": "?"}]}\nnot JSON\n')
    outcome = call_hone("data", "inspect", str(folder), "--json")
    assert outcome.code == 0, outcome.stderr
    found = outcome.result
    counts = found["rows"]
    assert counts == {"read": 69, "kept": 65, "invalid": 2, "filtered": 2, "cut": 0}
    assert found["filtered"] == {"duplicate": 1, "overlap": 1}
    assert sum(found["invalid"].values()) == 2
    assert [line.split(": ")[0] for line in found["problems"]] == [
        "train.jsonl:63",
        "train.jsonl:64",
    ]
    assert found["duplicates"]["duplicate"] == 1
    assert found["leakage"] == {"test": {"overlap": 1}}
    assert found["findings"] == {"pii_email": 1}
    warnings = "\n".join(found["warnings"])
    for words in ("2 of 69 rows are invalid", "an evaluation set (test)", "email", "5 test rows"):
        assert words in warnings


def test_a_few_rows_can_be_looked_at(call_hone: CallHone, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows(3))
    outcome = call_hone("data", "inspect", str(source))
    assert outcome.code == 0, outcome.stderr
    assert "3 read = 3 kept + 0 invalid + 0 filtered" in outcome.stdout
    assert "warning  a run would be refused" in outcome.stdout
    assert "no evaluation set" in outcome.stdout
    assert "⟦" in outcome.stdout
    assert "█" in outcome.stdout


def test_long_rows_are_kept_and_pointed_out(call_hone: CallHone, tmp_path: Path) -> None:
    rows = [*make_rows(60), make_row("Say it all.", "word " * 3000)]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    found = call_hone("data", "inspect", str(source), "--json").result
    assert found["rows"]["kept"] == 61
    assert found["rows"]["cut"] == 0
    longest = max(found["lengths"]["tokens"].values(), key=lambda tokens: tokens["longest"])
    assert longest["longest"] > 3000
    warnings = "\n".join(found["warnings"])
    assert "training.max_length is" in warnings
    assert "times the median" in warnings


def test_the_balance_of_any_field_is_shown(call_hone: CallHone, tmp_path: Path) -> None:
    rows = [row | {"topic": "rare" if n == 0 else "usual"} for n, row in enumerate(make_rows(80))]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    found = call_hone("data", "inspect", str(source), "--by", "topic", "--json").result
    assert sum(found["balance"]["usual"].values()) == 79
    assert sum(found["balance"]["rare"].values()) == 1
    assert "have topic = usual" in "\n".join(found["warnings"])


def test_near_rows_are_counted_though_no_rule_filters_them(
    call_hone: CallHone, tmp_path: Path
) -> None:
    answer = "The members of the region are north, east, south and west, in this order of theirs"
    near = [make_row(f"{WORDS[n]}?", f"{answer}{'.' * n}") for n in range(5)]
    write_rows(tmp_path / "data" / "train.jsonl", [*make_rows(60), *near[1:]])
    write_rows(tmp_path / "data" / "eval" / "test.jsonl", near[:1])
    found = call_hone(
        "data", "inspect", str(tmp_path / "data"), "--json", "--set", "data.validation_fraction=0"
    ).result
    assert found["rows"]["filtered"] == 0
    assert found["duplicates"]["near_kept"] == 3
    assert found["leakage"] == {"test": {"near_kept": 4}}


def test_looking_stores_no_split_and_no_data(call_hone: CallHone, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows(60))
    outcome = call_hone("data", "inspect", str(source), "--json")
    cache = outcome.home / "cache"
    assert not (outcome.home / "splits").exists()
    assert not (cache / "format").exists()
    assert sorted(path.name for path in next(cache.glob("inspect/*/")).iterdir()) == [
        "data_report.md", "inspection.json", "ledger.json", "ledger.jsonl", "lengths.png",
        "manifest.json", "preview.md",
    ]  # fmt: skip
    assert call_hone("data", "inspect", str(source), "--json").stdout == outcome.stdout


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no-such-thing", "is no preset, file or folder"),
        ("tinny", "tiny"),
        ("s3://b/x", "s3://b/x"),
    ],
)
def test_an_unknown_source_is_refused(call_hone: CallHone, source: str, words: str) -> None:
    outcome = call_hone("data", "inspect", source)
    assert outcome.code == 3
    assert words in outcome.stderr


def test_a_source_without_one_good_row_shows_the_ledger_and_is_refused(
    call_hone: CallHone, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [{"messages": [{"role": "bot"}]}, {"odd": 1}])
    with source.open("a", encoding="utf-8") as file:
        file.write("broken\n" * 12)
    output = tmp_path / "page"
    outcome = call_hone("data", "inspect", str(source), "--output", str(output))
    assert outcome.code == 3
    assert "14 read = 0 kept + 14 invalid + 0 filtered" in outcome.stdout
    for line in ("12  invalid: broken_json", "1  invalid: unknown_role", "and 7 more"):
        assert line in outcome.stdout
    assert "all 14 rows of train were dropped" in outcome.stderr
    assert sorted(path.name for path in output.iterdir()) == [
        "data_report.md", "inspection.json", "ledger.jsonl",
    ]  # fmt: skip
    entries = [json.loads(line) for line in (output / "ledger.jsonl").read_text().splitlines()]
    assert [entry["origin"] for entry in entries] == [f"rows.jsonl:{n}" for n in range(1, 15)]
    assert all(entry["outcome"] == "invalid" and entry["detail"] for entry in entries)
    found = call_hone("data", "inspect", str(source), "--json")
    assert found.code == 3
    assert found.result["rows"]["invalid"] == 14
    assert found.result["error"]["message"] == "all 14 rows of train were dropped"


def test_an_output_that_is_a_file_is_refused_first(call_hone: CallHone, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows(3))
    outcome = call_hone("data", "inspect", str(source), "--output", str(source))
    assert outcome.code == 3
    assert "--output" in outcome.stderr


def test_a_base_of_ones_own_counts_the_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows(3))
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    config = load_request("rows.jsonl", [], "base")
    assert config.data.source == str(source)
    assert config.model.model_name_or_path == str(tmp_path / "base")
    assert load_request("tiny", [], None) == load_config("tiny")
    assert load_request("tiny", [], "gpt2").model.model_name_or_path == "gpt2"


def test_presets_are_told_from_data(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps({"messages": []}), encoding="utf-8")
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps({"extends": "tiny", "data": {}}), encoding="utf-8")
    assert [is_preset(str(path)) for path in (rows, preset)] == [False, True]
    assert is_preset(str(ROOT / "configs" / "tiny.yaml"))
    assert not is_preset(str(ROOT / "data" / "flowroll"))
