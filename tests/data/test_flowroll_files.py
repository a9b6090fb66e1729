"""The files of the FLOWROLL/DIMMATCH example data keep what their card promises."""

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

import programs
import pytest
import similarity
from hypothesis import given
from hypothesis import strategies as st

FLOWROLL = Path(__file__).parents[2] / "data" / "flowroll"
SPLITS = {
    "train": ("train.jsonl", 800),
    "test": ("eval/test.jsonl", 200),
    "dev": ("eval/dev.jsonl", 100),
    "adversarial": ("eval/adversarial.jsonl", 100),
}
TASKS = {"explain", "write", "repair", "evaluate"}
FAULTS = {"unknown_function", "wrong_arity", "zero_periods", "injection"}


def read_rows(split: str) -> list[dict[str, Any]]:
    text = (FLOWROLL / SPLITS[split][0]).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


ROWS = {split: read_rows(split) for split in SPLITS}


def test_generator_writes_the_committed_files(tmp_path: Path) -> None:
    command = [sys.executable, "-B", str(FLOWROLL / "generate.py"), "--output", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) == len(SPLITS) + 3
    for name in written:
        assert (tmp_path / name).read_bytes() == (FLOWROLL / name).read_bytes(), name


def test_card_digests_are_current() -> None:
    card = (FLOWROLL / "README.md").read_text(encoding="utf-8")
    digests = dict(re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|$", card, re.MULTILINE))
    assert {name for name, _ in SPLITS.values()} < set(digests)
    for name, digest in digests.items():
        assert hashlib.sha256((FLOWROLL / name).read_bytes()).hexdigest() == digest


def test_card_counts_are_current() -> None:
    card = (FLOWROLL / "README.md").read_text(encoding="utf-8")
    for kind in TASKS | FAULTS:
        counts = (Counter(row["kind"] for row in rows)[kind] for rows in ROWS.values())
        assert f"| `{kind}` | {' | '.join(map(str, counts))} |" in card


@pytest.mark.parametrize("split", SPLITS)
def test_rows_have_the_messages_format(split: str) -> None:
    assert len(ROWS[split]) >= SPLITS[split][1]
    for row in ROWS[split]:
        assert list(row) == ["messages", "kind", "group"]
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        for message in row["messages"]:
            assert message["content"] == " ".join(message["content"].split()) != ""


def test_kinds_of_each_split() -> None:
    kinds = {split: {row["kind"] for row in rows} for split, rows in ROWS.items()}
    assert kinds["train"] == TASKS | FAULTS
    assert kinds["test"] == kinds["dev"] == TASKS
    assert kinds["adversarial"] == FAULTS


def test_no_prompt_stands_twice() -> None:
    prompts = Counter(row["messages"][0]["content"] for rows in ROWS.values() for row in rows)
    assert [prompt for prompt, count in prompts.items() if count > 1] == []


def test_groups_stay_in_one_split_and_are_small() -> None:
    splits = defaultdict(set)
    sizes: Counter[str] = Counter()
    for split, rows in ROWS.items():
        for row in rows:
            splits[row["group"]].add(split)
            sizes[row["group"]] += 1
    assert all(len(found) == 1 for found in splits.values())
    assert set(sizes.values()) == {1, 2, 3}


def test_no_prompt_is_near_one_of_another_split() -> None:
    seen: list[frozenset[str]] = []
    for rows in ROWS.values():
        shingles = [similarity.split_shingles(row["messages"][0]["content"]) for row in rows]
        assert not any(similarity.is_near(one, seen) for one in shingles)
        seen.extend(shingles)


@given(st.randoms(use_true_random=True))
def test_names_belong_to_one_split(rng: Random) -> None:
    pools = list(programs.build_pools(rng).values())
    for field in ("items", "dimension_pairs", "unknown_functions", "injections"):
        names = [name for pool in pools for name in getattr(pool, field)]
        assert len(names) == len(set(names)) > 0
