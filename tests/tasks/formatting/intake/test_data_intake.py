from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.intake.data_intake import Intake, number_repeats, read_columns, read_sources
from tasks.formatting.intake.row_shards import OUTCOMES, load_row, read_batches
from tasks.formatting.splits.assignments import start_assignments
from tasks.formatting.splits.placing import place_intake
from tasks.records.home import find_project
from tasks.records.observer import SilentObserver

WriteSource = Callable[..., Path]
FLOWROLL = find_project() / "data" / "flowroll"


def read(source: Path, data: DataConfig | None = None, **options: Any) -> Intake:
    return read_sources(
        source, data or DataConfig(), source.parent / "work", SilentObserver(), **options
    )


def list_origins(intake: Intake) -> list[str]:
    columns = read_columns(intake)
    return [f"{intake.files[f]}:{n}" for f, n in zip(columns.file, columns.line, strict=True)]


def list_groups(intake: Intake) -> list[str]:
    batches = [b for shard in intake.shards for b in read_batches(shard.path)]
    return [load_row(raw.as_py())["group"] for batch in batches for raw in batch["example"]]


def chat(role: str = "assistant", **fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "Why?"}, {"role": role, "content": "So."}]
    return {"messages": turns, **fields}


def test_the_faults_of_the_broken_example_rows_are_all_found(write_source: WriteSource) -> None:
    catalogue = (FLOWROLL / "broken" / "README.md").read_text()
    faults = dict(re.findall(r"^\| (\d+) \| (.+) \|$", catalogue, re.MULTILINE))
    content = (FLOWROLL / "broken" / "rows.jsonl").read_bytes()
    source = write_source({"train/rows.jsonl": content})
    intake = read(source)
    placed = place_intake(intake, DataConfig(), start_assignments(1), source)
    ends = [OUTCOMES[code] for code in placed.columns.outcome]
    ends = ["filtered" if r else e for e, r in zip(ends, placed.placement.reason, strict=True)]
    found = {o.split(":")[1]: e for o, e in zip(list_origins(intake), ends, strict=True)}
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
    intake = read(source)
    assert intake.formats == {
        "train: a.jsonl": "messages",
        "train: sub/b.csv": "alpaca",
        "test: t.json": "prompt-completion",
    }
    assert list_origins(intake) == ["a.jsonl:1", "sub/b.csv:2", "t.json:1"]
    assert [shard.source for shard in intake.shards] == ["train", "test"]
    assert intake.kind == "messages"


def test_hashes_name_the_content_and_its_prompt(write_source: WriteSource) -> None:
    source = write_source({"train/a.jsonl": [chat(), chat(n=1)], "eval/test/t.jsonl": [chat()]})
    intake = read(source)
    columns = read_columns(intake)
    assert len(set(columns.content)) == len(set(columns.prompt)) == len(set(columns.group)) == 1
    shard = intake.shards[0]
    rows = [load_row(raw.as_py()) for b in read_batches(shard.path) for raw in b["example"]]
    assert [row["fields"] for row in rows] == [{}, {"n": 1}]
    assert rows[0]["group"] == f"{columns.prompt[0]:016x}"


def test_group_by_goes_by_the_new_key_of_a_column(write_source: WriteSource) -> None:
    rows = [{"question": "Why?", "answer": "So."}, {"question": "Who?", "answer": "He."}]
    source = write_source({"train/a.jsonl": rows})
    columns = {"question": "prompt", "answer": "completion"}
    assert list_groups(read(source, DataConfig(columns=columns, group_by="prompt"))) == [
        "Why?", "Who?"
    ]  # fmt: skip
    intake = read(source, DataConfig(columns=columns, group_by="question"))
    assert intake.tally.counts == {("train", "invalid", "missing_group"): 2}


def test_files_of_blank_lines_are_refused_although_they_are_cut(write_source: WriteSource) -> None:
    source = write_source({"train/a.jsonl": b"\n" * 100})
    with pytest.raises(RequestError, match="the files hold no rows"):
        read(source, DataConfig(format="messages"), chunk_bytes=10)


def test_what_is_no_number_is_no_field_of_a_row(write_source: WriteSource) -> None:
    text = json.dumps(chat(n=2**80, x=float("inf"), y=0.5)).replace("Infinity", "1e999")
    intake = read(write_source({"train/a.jsonl": text.encode()}))
    (batch,) = read_batches(intake.shards[0].path)
    assert load_row(batch["example"][0].as_py())["fields"] == {"n": 2**80, "y": 0.5}


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=30))
def test_repeats_are_numbered_in_reading_order_by_source(rows: list[tuple[int, int]]) -> None:
    sources, contents = (np.array(column) for column in zip(*rows, strict=True))
    found = number_repeats(sources.astype(np.int16), contents.astype(np.uint64))
    assert found.tolist() == [rows[:n].count(row) for n, row in enumerate(rows)]


ROWS = [chat(n=n) for n in range(40)]


@pytest.mark.parametrize("chunk_bytes", [1, 200, 1000, 1 << 20])
def test_rows_are_read_alike_however_files_are_cut(
    write_source: WriteSource, chunk_bytes: int
) -> None:
    lines = [json.dumps(row).encode() for row in ROWS]
    content = b"\n".join([b"\xef\xbb\xbf", b'{"a": 1}', *lines[:20], b"", b"{", *lines[20:]])
    source = write_source(
        {
            "train/a.jsonl": content,
            "train/b.csv": b"prompt,completion\na,b\n",
            "train/c.jsonl": ROWS,
        }
    )
    intake = read(source, chunk_bytes=chunk_bytes)
    lines_of_a = [2, *range(3, 23), *range(24, 45)]
    assert list_origins(intake) == [
        *(f"a.jsonl:{n}" for n in lines_of_a), "b.csv:2", *(f"c.jsonl:{n}" for n in range(1, 41)),
    ]  # fmt: skip
    counts = {(end, why): count for (_, end, why), count in intake.tally.counts.items()}
    assert counts == {
        ("invalid", "unknown_format"): 1, ("invalid", "broken_json"): 1, ("kept", ""): 81,
    }  # fmt: skip
    assert (len(intake.shards) > 3) == (chunk_bytes <= 1000)


def test_a_row_of_another_format_is_named_by_its_line_in_any_chunk(
    write_source: WriteSource,
) -> None:
    source = write_source({"train/a.jsonl": [*ROWS, {"text": "abc"}]})
    with pytest.raises(RequestError, match=r"a\.jsonl:41: this row has the format text"):
        read(source, chunk_bytes=100)


def test_a_finished_shard_is_used_again_while_its_bytes_are_the_same(
    write_source: WriteSource,
) -> None:
    source = write_source({"train/a.jsonl": ROWS})

    def read_again() -> list[int]:
        intake = read(source, chunk_bytes=1000)
        return [shard.path.stat().st_mtime_ns for shard in intake.shards]

    first = read_again()
    assert read_again() == first
    path = source / "train" / "a.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"n": 39', b'"n": 38'))
    changed = [old != new for old, new in zip(first, read_again(), strict=True)]
    assert changed == [False] * (len(first) - 1) + [True]


def test_processes_of_their_own_read_the_same(write_source: WriteSource) -> None:
    source = write_source({"train/a.jsonl": ROWS, "eval/test/t.csv": b"prompt,completion\na,b\n"})
    alone = read(source, chunk_bytes=1000)
    together = read(source, chunk_bytes=1000, num_processes=2)
    assert together == alone


def test_a_role_of_the_map_that_is_nowhere_is_named(
    write_source: WriteSource, caplog: pytest.LogCaptureFixture
) -> None:
    data = DataConfig(roles={"bot": "assistant", "gpt": "assistant"})
    with caplog.at_level(logging.WARNING, logger="hone"):
        intake = read(write_source({"train/a.jsonl": [chat("bot")]}), data)
    assert intake.sightings.mapped_roles == {"bot": 1}
    assert caplog.messages == ['data.roles: no turn has the role "gpt"']
