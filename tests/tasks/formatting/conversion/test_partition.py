from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.build import FormatResult
from tasks.formatting.conversion.partition import FILES, SplitShares, build_shares, partition_files
from tasks.formatting.files.readers import SourceFile
from tasks.records.writing import iterate_jsonl
from tests.tasks.formatting.building import chat

SHARES = SplitShares(validation=0.1, dev=0.1, test=0.2)


@given(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=60))
def test_every_row_is_in_one_file_and_groups_stay_whole(groups: list[str]) -> None:
    lines = [
        json.dumps({"text": f"row {n}", "group": group}).encode() for n, group in enumerate(groups)
    ]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        source.write_bytes(b"\n".join(lines))
        out = Path(folder) / "out"
        out.mkdir()
        files = [SourceFile(source, "rows.jsonl")]
        result = partition_files(files, out, shares=SHARES, data=DataConfig(group_by="group"))
        written = {name: (out / FILES[name]).read_bytes().splitlines() for name in result.rows}
    assert Counter(line for found in written.values() for line in found) == Counter(lines)
    assert {name: len(found) for name, found in written.items()} == result.rows
    placed = {
        group: {
            name for name, found in written.items() if any(_is_of(line, group) for line in found)
        }
        for group in groups
    }
    assert all(len(names) == 1 for names in placed.values())
    assert sum(result.groups.values()) == len(set(groups))


def _is_of(line: bytes, group: str) -> bool:
    return bool(json.loads(line)["group"] == group)


def test_the_shares_are_as_asked() -> None:
    counts = Counter(SHARES.assign(f"group {n}") for n in range(5_000))
    for name, share in (("validation", 0.1), ("dev", 0.1), ("test", 0.2), ("train", 0.6)):
        assert abs(counts[name] - 5_000 * share) < 120


@given(st.text(), st.floats(0, 0.3), st.floats(0, 0.3))
def test_a_larger_share_only_takes_rows_from_training(
    group: str, share: float, more: float
) -> None:
    before = SplitShares(validation=0.1, dev=0.0, test=share).assign(group)
    after = SplitShares(validation=0.1, dev=0.0, test=share + more).assign(group)
    assert after == before or (before, after) == ("train", "test")


def test_prompts_that_differ_in_what_is_masked_fall_together_as_in_a_run(
    run: Callable[..., FormatResult], tmp_path: Path
) -> None:
    rows = [
        chat(f"How do I answer letter {n} of ada{m}@example.org?", f"Politely, {n} {m}.")
        for n in range(40)
        for m in range(3)
    ]
    rules = {"pii": "mask", "validation_fraction": 0.2, "test_fraction": 0.2}
    run({"train/rows.jsonl": rows}, **rules)
    stored = {
        name: sorted(int(entry["origin"].split(":")[1]) for entry in entries)
        for name, entries in _read_splits(tmp_path / "out" / "ledger.jsonl").items()
    }
    out = tmp_path / "split"
    out.mkdir()
    files = [SourceFile(tmp_path / "source" / "train" / "rows.jsonl", "rows.jsonl")]
    shares = SplitShares(validation=0.2, dev=0.0, test=0.2)
    result = partition_files(files, out, shares=shares, data=DataConfig(**rules))
    assert sum(result.groups.values()) == 40
    numbers = {json.dumps(row): n for n, row in enumerate(rows, start=1)}
    assert stored == {
        name: [numbers[line] for line in (out / FILES[name]).read_text().splitlines()]
        for name in result.rows
    }
    (tmp_path / "plain").mkdir()
    plain = partition_files(files, tmp_path / "plain", shares=shares, data=DataConfig())
    assert sum(plain.groups.values()) == 120


def _read_splits(ledger: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in iterate_jsonl(ledger):
        found.setdefault(entry["split"], []).append(entry)
    return found


def test_rows_of_two_formats_in_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    with pytest.raises(RequestError, match=r"rows\.jsonl:2: .*prompt-completion.*text"):
        partition_files(
            [SourceFile(path, "rows.jsonl")], tmp_path, shares=SHARES, data=DataConfig()
        )


@pytest.mark.parametrize(
    "percentages",
    [
        {"train": 80, "validation": 10, "test": 10, "dev": 10},
        {"train": 0, "validation": 50, "test": 50, "dev": 0},
    ],
)
def test_impossible_percentages_are_refused(percentages: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        build_shares(percentages)


def test_thirds_add_up() -> None:
    shares = build_shares({"train": 33.4, "validation": 33.3, "test": 33.3, "dev": 0})
    assert (shares.validation, shares.test) == pytest.approx((0.333, 0.333))
    assert shares.dev == 0
