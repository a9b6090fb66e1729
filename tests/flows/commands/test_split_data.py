from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.formatting.splits.split_hash import SplitPlan, assign_split
from tests.flows.conftest import CallHone
from tests.flows.running import make_row, write_rows

NUM_ROWS = 300


def make_rows(num_rows: int = NUM_ROWS) -> list[dict[str, Any]]:
    """Rows in threes: one group, three prompts."""
    return [make_row(f"What is {n} + 1?", str(n + 1)) | {"case": n // 3} for n in range(num_rows)]


def read_lines(folder: Path) -> dict[str, list[bytes]]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().splitlines(keepends=True)
        for path in sorted(folder.rglob("*.jsonl"))
    }


def test_every_line_goes_byte_for_byte_to_one_file(call_hone: CallHone, tmp_path: Path) -> None:
    odd = b'{ "text" : "caf\\u00e9" ,"n": 1.50}\r\n{"text":"big","n":12345678901234567890123}\n'
    lines = [b'{"text":"row %d","z":1,"a":2}\n' % n for n in range(200)]
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"\xef\xbb\xbf" + odd + b"\n" + b"".join(lines)[:-1])
    outcome = call_hone("data", "split", str(source), "--output", str(tmp_path / "out"), "--json")
    assert outcome.code == 0, outcome.stderr
    files = read_lines(tmp_path / "out")
    assert set(files) == {"train.jsonl", "eval/test.jsonl", "eval/validation.jsonl"}
    written = [line for found in files.values() for line in found]
    assert sorted(written) == sorted([*odd.splitlines(keepends=True), *lines])
    assert outcome.result["rows"]["read"] == 202
    assert outcome.result["rows"]["invalid"] == 0
    for name, key in (("train.jsonl", "train"), ("eval/test.jsonl", "test")):
        assert outcome.result["rows"][key] == len(files[name])


def test_rows_go_where_a_run_would_put_them(call_hone: CallHone, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows())
    outcome = call_hone(
        "data", "split", str(source), "--output", str(tmp_path / "out"), "--group-by", "case",
        "--train", "70", "--validation", "10", "--test", "20", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    plan = SplitPlan(validation_fraction=0.1, test_fraction=0.2)
    for name, lines in read_lines(tmp_path / "out").items():
        for line in lines:
            case = str(json.loads(line)["case"])
            assert assign_split(case, plan) == Path(name).stem
    assert sum(outcome.result["groups"].values()) == NUM_ROWS // 3
    assert outcome.result["shared_prompts"] == 0


def test_another_version_is_another_split(call_hone: CallHone, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows())
    found: list[dict[str, list[bytes]]] = []
    for version in ("1", "1", "2"):
        folder = tmp_path / f"out-{len(found)}"
        arguments = ("data", "split", str(source), "--output", str(folder), "--version", version)
        assert call_hone(*arguments).code == 0
        found.append(read_lines(folder))
    assert found[0] == found[1] != found[2]


def test_dev_rows_are_taken_from_training_alone(call_hone: CallHone, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows())
    shares = {"plain": ("80", "0"), "with-dev": ("60", "20")}
    for name, (train, dev) in shares.items():
        folder = str(tmp_path / name)
        outcome = call_hone(
            "data", "split", str(source), "--output", folder, "--train", train, "--dev", dev
        )
        assert outcome.code == 0, outcome.stderr
        assert "eval/test.jsonl" in outcome.stdout
    plain, with_dev = (read_lines(tmp_path / name) for name in shares)
    assert plain["eval/test.jsonl"] == with_dev["eval/test.jsonl"]
    assert plain["eval/validation.jsonl"] == with_dev["eval/validation.jsonl"]
    assert set(with_dev["eval/dev.jsonl"]) < set(plain["train.jsonl"])


def test_a_folder_of_other_files_becomes_jsonl(call_hone: CallHone, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("prompt", "completion"), *((f"Say {n}.", str(n)) for n in range(150))])
    packed = b"".join(json.dumps(row).encode() + b"\n" for row in make_rows(150))
    (source / "b.jsonl.gz").write_bytes(gzip.compress(packed))
    outcome = call_hone("data", "split", str(source), "--output", str(tmp_path / "out"), "--json")
    assert outcome.code == 0, outcome.stderr
    lines = [line for found in read_lines(tmp_path / "out").values() for line in found]
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 300
    assert {"prompt": "Say 7.", "completion": "7"} in rows
    assert set(packed.splitlines(keepends=True)) < set(lines)


def test_percentages_must_add_up(call_hone: CallHone, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows())
    outcome = call_hone(
        "data", "split", str(source), "--output", str(tmp_path / "out"), "--test", "20"
    )
    assert outcome.code == 3
    assert "is 110; allowed: percentages that add up to 100" in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_broken_rows_stop_it_or_are_listed(call_hone: CallHone, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows())
    with source.open("a", encoding="utf-8") as file:
        file.write('{"messages": []}\n{"messages"\n')
    arguments = ("data", "split", str(source), "--output", str(tmp_path / "out"))
    refused = call_hone(*arguments)
    assert refused.code == 3
    assert f"2 of {NUM_ROWS + 2} rows are invalid" in refused.stderr
    assert "rows.jsonl:302: broken JSON" in refused.stderr
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []

    result = call_hone(*arguments, "--allow-invalid", "--json").result
    assert result["rows"]["invalid"] == 2
    assert sum(v for k, v in result["rows"].items() if k not in {"read", "invalid"}) == NUM_ROWS
    assert [row["origin"] for row in result["left_out"]] == ["rows.jsonl:301", "rows.jsonl:302"]
    assert result["left_out"][1]["reason"] == "broken_json"


def test_nothing_is_written_over(call_hone: CallHone, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows())
    mine = write_rows(tmp_path / "out" / "train.jsonl", [])
    outcome = call_hone("data", "split", str(source), "--output", str(tmp_path / "out"))
    assert outcome.code == 3
    assert "is there already" in outcome.stderr
    assert mine.read_bytes() == b""


@pytest.mark.parametrize(
    ("num_rows", "words"), [(2, "no group fell to"), (0, "rows.jsonl")], ids=["few", "none"]
)
def test_too_few_rows_are_refused(
    call_hone: CallHone, tmp_path: Path, num_rows: int, words: str
) -> None:
    source = write_rows(tmp_path / "rows.jsonl", make_rows(num_rows))
    outcome = call_hone("data", "split", str(source), "--output", str(tmp_path / "out"))
    assert outcome.code == 3
    assert words in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_split_already_is_refused(call_hone: CallHone, tmp_path: Path) -> None:
    write_rows(tmp_path / "source" / "train.jsonl", make_rows())
    write_rows(tmp_path / "source" / "eval" / "test.jsonl", make_rows(3))
    outcome = call_hone(
        "data", "split", str(tmp_path / "source"), "--output", str(tmp_path / "out")
    )
    assert outcome.code == 3
    assert "eval/test.jsonl" in outcome.stderr


def test_prompts_on_both_sides_are_pointed_out(call_hone: CallHone, tmp_path: Path) -> None:
    rows = [make_row("Always this?") | {"case": n} for n in range(100)]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    arguments = ("data", "split", str(source), "--output", str(tmp_path / "out"))
    outcome = call_hone(*arguments, "--group-by", "case")
    assert outcome.code == 0, outcome.stderr
    assert "1 prompts stand in more than one split" in outcome.stderr
