"""Wrong requests: one clear error, the contract's exit code, nothing half-written."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import CallHone
from tests.flows.running import ROOT, Outcome, list_runs, make_row, write_rows

ROWS = [make_row(f"Put {number} in the box.") for number in range(30)]
TINY_BASE = ROOT / "data" / "tiny-base"


def expect_refusal(outcome: Outcome, *texts: str, code: int = 3) -> None:
    """Check that a plain command ended in one clear error that left nothing behind."""
    assert outcome.code == code, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("hone: ")]
    assert len(errors) == 1, outcome.stderr
    for text in texts:
        assert text in outcome.stderr
    assert list_runs(outcome.home) == []
    assert list((outcome.home / "cache").glob("*/*/manifest.json.*")) == []


def plan_rows(call_hone: CallHone, path: Path, *changes: str, preset: Path) -> Outcome:
    sets = [part for change in (f"data.source={path}", *changes) for part in ("--set", change)]
    return call_hone("plan", str(preset), *sets, "--set", "data.pattern=null")


def test_a_preset_that_does_not_exist(call_hone: CallHone) -> None:
    expect_refusal(call_hone("run", "tinny"), "tinny", "tiny")


def test_an_unknown_key(call_hone: CallHone) -> None:
    outcome = call_hone("run", "tiny", "--set", "training.learning_rat=1")
    expect_refusal(outcome, "learning_rat", "training.learning_rate")


def test_a_negative_learning_rate(call_hone: CallHone) -> None:
    outcome = call_hone("run", "tiny", "--set", "training.learning_rate=-1")
    expect_refusal(outcome, "training.learning_rate", "-1", "0")


@pytest.mark.parametrize("key", ["training.push_to_hub", "publish.push_to_hub"])
def test_only_the_gate_publishes(call_hone: CallHone, key: str) -> None:
    expect_refusal(call_hone("run", "tiny", "--set", f"{key}=true"), "push_to_hub", "gate")


def test_a_key_of_another_system_is_translated(call_hone: CallHone) -> None:
    outcome = call_hone("run", "tiny", "--set", "training.cutoff_len=100")
    expect_refusal(outcome, "cutoff_len", "training.max_length")


def test_several_errors_are_listed_at_once(call_hone: CallHone) -> None:
    changes = ("--set", "training.learning_rate=-1", "--set", "model.lora_r=0")
    expect_refusal(call_hone("run", "tiny", *changes), "learning_rate", "lora_r")


def test_an_unknown_option(call_hone: CallHone) -> None:
    expect_refusal(call_hone("run", "tiny", "--fast"), "--fast", "--help")


def test_a_missing_file(call_hone: CallHone, preset: Path, tmp_path: Path) -> None:
    expect_refusal(plan_rows(call_hone, tmp_path / "none.jsonl", preset=preset), "none.jsonl")


def test_an_empty_file(call_hone: CallHone, preset: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "empty.jsonl", [])
    expect_refusal(plan_rows(call_hone, file, preset=preset), "empty.jsonl", "empty")


def test_broken_json_on_line_17(call_hone: CallHone, preset: Path, tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in ROWS]
    lines[16] = lines[16][:-5]
    file = tmp_path / "broken.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    outcome = plan_rows(call_hone, file, preset=preset)
    expect_refusal(outcome, "broken.jsonl:17", "JSON", "data.max_invalid_fraction")


@pytest.mark.parametrize(
    ("messages", "texts"),
    [
        ([{"role": "user", "content": "Hello?"}], ("rows.jsonl:3", "assistant")),
        (
            [{"role": "bot", "content": "Hello?"}, {"role": "assistant", "content": "Hello."}],
            ("rows.jsonl:3", "bot", "assistant"),
        ),
    ],
    ids=["a row without an assistant turn", "an unknown role"],
)
def test_a_wrong_row(
    call_hone: CallHone, preset: Path, tmp_path: Path, messages: Any, texts: tuple[str, ...]
) -> None:
    rows = [*ROWS[:2], {"messages": messages}, *ROWS[3:]]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    expect_refusal(plan_rows(call_hone, file, preset=preset), *texts)


def test_all_rows_dropped(call_hone: CallHone, preset: Path, tmp_path: Path) -> None:
    rows = [{"messages": row["messages"][:1]} for row in ROWS]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    outcome = plan_rows(call_hone, file, "data.max_invalid_fraction=1", preset=preset)
    expect_refusal(outcome, "30")


def test_a_text_longer_than_max_length(call_hone: CallHone, preset: Path, tmp_path: Path) -> None:
    long = make_row("Put " + "a very long list of things " * 100 + "in the box.")
    file = write_rows(tmp_path / "rows.jsonl", [*ROWS[:4], long, *ROWS[4:]])
    outcome = plan_rows(call_hone, file, "training.max_length=128", preset=preset)
    expect_refusal(outcome, "rows.jsonl:5", "128")


def test_an_eval_set_that_overlaps_training(
    call_hone: CallHone, preset: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", ROWS)
    write_rows(tmp_path / "data" / "eval" / "test.jsonl", ROWS[7:9])
    outcome = plan_rows(call_hone, tmp_path / "data", preset=preset)
    expect_refusal(outcome, "test.jsonl:1", "train.jsonl:8")


def copy_base(folder: Path, *left_out: str) -> Path:
    shutil.copytree(TINY_BASE, folder, ignore=shutil.ignore_patterns(*left_out))
    return folder


def test_a_base_without_weights(call_hone: CallHone, preset: Path, tmp_path: Path) -> None:
    base = copy_base(tmp_path / "base", "*.safetensors")
    outcome = call_hone("plan", str(preset), "--set", f"model.model_name_or_path={base}")
    expect_refusal(outcome, str(base), "weights")


def test_a_base_without_a_chat_template(call_hone: CallHone, preset: Path, tmp_path: Path) -> None:
    base = copy_base(tmp_path / "base", "chat_template.jinja")
    settings = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    outcome = call_hone("plan", str(preset), "--set", f"model.model_name_or_path={base}")
    expect_refusal(outcome, "chat template", "model.chat_template", "chatml")


@pytest.mark.parametrize("name", ["outputs", "cache"])
def test_an_output_folder_that_is_a_file(call_hone: CallHone, home: Path, name: str) -> None:
    (home / name).write_text("mine", encoding="utf-8")
    expect_refusal(call_hone("run", "tiny"), str(home / name), "is a file", "HONE_HOME")
    assert (home / name).read_text(encoding="utf-8") == "mine"


def test_a_home_that_is_a_file(
    call_hone: CallHone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    monkeypatch.setenv("HONE_HOME", str(file))
    expect_refusal(call_hone("run", "tiny"), str(file), "is a file")


@pytest.mark.usefixtures("on_server", "home")
def test_no_disk_space_for_the_run_folder(
    call_hone: CallHone, preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder = Path.mkdir

    def refuse(path: Path, *arguments: Any, **options: Any) -> None:
        if path.parent.name == "runs":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        make_folder(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    outcome = call_hone("run", str(preset))
    expect_refusal(outcome, "No space left on device", "run folder", "HONE_HOME", code=1)


@pytest.mark.usefixtures("on_server")
def test_wrong_data_in_a_run_leaves_no_run_folder(
    call_hone: CallHone, preset: Path, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [*ROWS[:2], {"messages": []}])
    outcome = call_hone("run", str(preset), "--set", f"data.source={file}")
    expect_refusal(outcome, "rows.jsonl:3")
    assert not list((outcome.home / "cache" / "format").glob("*/*"))


def test_an_error_for_machines_is_one_object(
    call_hone: CallHone, preset: Path, tmp_path: Path
) -> None:
    for arguments in (
        ("run", "tinny"),
        ("run", "tiny", "--set", "training.learning_rate=-1"),
        ("run", "tiny", "--fast"),
        ("plan", str(preset), "--set", f"data.source={tmp_path / 'none'}"),
        ("generate", str(tmp_path / "none"), "--prompt", "Hello?"),
    ):
        outcome = call_hone(*arguments, "--json")
        assert outcome.code == 3
        assert set(outcome.result) == {"error"}
        error = outcome.result["error"]
        assert {"code", "where", "message", "allowed", "hint"} <= set(error)
        assert error["code"] == "request"
        assert error["message"]
