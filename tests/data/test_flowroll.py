"""The FLOWROLL/DIMMATCH example data: language, generator, promises of the data card."""

import hashlib
import importlib
import json
import re
import subprocess
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

FLOWROLL = Path(__file__).parents[2] / "data" / "flowroll"
SPLITS = {
    "train": "train.jsonl",
    "test": "eval/test.jsonl",
    "dev": "eval/dev.jsonl",
    "adversarial": "eval/adversarial.jsonl",
}
ADVERSARIAL_KINDS = {"unknown_function", "wrong_arity", "zero_periods", "injection"}
TASK_KINDS = {"explain", "write", "repair", "evaluate"}
REFERENCE_EXAMPLES = [
    (task, *line.split(" => "))
    for task, block in re.findall(
        r"^```(evaluate|explain|repair)\n(.*?)^```",
        (FLOWROLL / "REFERENCE.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    for line in block.splitlines()
]


def load_module(name: str) -> Any:
    """Import a module of the data folder, which is no package."""
    sys.path.insert(0, str(FLOWROLL))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FLOWROLL))


dsl, repair, answers, similarity, broken_rows, faults, programs = map(
    load_module, ("dsl", "repair", "answers", "similarity", "broken_rows", "faults", "programs")
)


def read_rows(split: str) -> list[dict[str, Any]]:
    lines = (FLOWROLL / SPLITS[split]).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


ROWS = {split: read_rows(split) for split in SPLITS}
ALL_ROWS = [row for rows in ROWS.values() for row in rows]


def read_turns(row: dict[str, Any]) -> tuple[str, str]:
    user, assistant = row["messages"]
    assert (user["role"], assistant["role"]) == ("user", "assistant")
    return user["content"], assistant["content"]


def find_formula(prompt: str) -> str:
    """Cut the formula, right or broken, out of a request to explain, repair or evaluate."""
    found = re.search(r"[A-Za-z]{6,}[(\[][^:?]*[)\]](?!,)|[A-Za-z]{6,}\([^:?)]*$", prompt)
    assert found, prompt
    return found[0]
