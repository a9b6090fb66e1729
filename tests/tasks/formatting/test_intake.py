from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.schema import DataConfig
from tasks.formatting.intake import read_sources
from tasks.formatting.overlap import filter_duplicates
from tasks.records.home import find_project

WriteSource = Callable[..., Path]
FLOWROLL = find_project() / "data" / "flowroll"


def chat(role: str = "assistant", **fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "Why?"}, {"role": role, "content": "So."}]
    return {"messages": turns, **fields}


def test_the_faults_of_the_broken_example_rows_are_all_found(write_source: WriteSource) -> None:
    catalogue = (FLOWROLL / "broken" / "README.md").read_text()
    faults = dict(re.findall(r"^\| (\d+) \| (.+) \|$", catalogue, re.MULTILINE))
    content = (FLOWROLL / "broken" / "rows.jsonl").read_bytes()
    intake = read_sources(write_source({"train/rows.jsonl": content}), DataConfig())
    found = {e.origin.split(":")[1]: e.outcome for e in filter_duplicates(intake.entries)}
    expected = {"none": "kept", "duplicate of line 1": "filtered"}
    assert found == {
        line: expected.get(fault, "invalid")
        for line, fault in faults.items()
        if fault != "blank line"
    }


def test_every_file_is_read_in_its_own_format(write_source: WriteSource) -> None:
    source = write_source(
        {
            "train/a.jsonl": [chat()],
            "train/sub/b.csv": b"instruction,output\nWhy?,So.\n",
            "train/notes.md": b"not data",
            "eval/test/t.json": b'{"prompt": "Who?", "completion": "You."}',
        }
    )
    intake = read_sources(source, DataConfig())
    assert intake.formats == {
        "train: a.jsonl": "messages",
        "train: sub/b.csv": "alpaca",
        "test: t.json": "prompt-completion",
    }
    assert [(e.source, e.origin) for e in intake.entries] == [
        ("train", "a.jsonl:1"), ("train", "sub/b.csv:2"), ("test", "t.json:1"),
    ]  # fmt: skip
    assert intake.kind == "messages"


def test_ids_name_the_content_and_its_repetition(write_source: WriteSource) -> None:
    source = write_source({"train/a.jsonl": [chat(), chat(n=1)], "eval/test/t.jsonl": [chat()]})
    first, second, test = (e.example for e in read_sources(source, DataConfig()).entries)
    assert first
    assert second
    assert test
    assert second.id == f"{first.id}-1"
    assert test.id == first.id
    assert first.group == second.group == test.group
    assert second.fields == {"n": 1}


def test_a_role_of_the_map_that_is_nowhere_is_named(
    write_source: WriteSource, caplog: pytest.LogCaptureFixture
) -> None:
    data = DataConfig(roles={"bot": "assistant", "gpt": "assistant"})
    with caplog.at_level(logging.WARNING, logger="hone"):
        intake = read_sources(write_source({"train/a.jsonl": [chat("bot")]}), data)
    assert intake.mapped_roles == {"bot": 1}
    assert caplog.messages == ['data.roles: no turn has the role "gpt"']
