from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import RequestError
from configs.schema import DataConfig
from tasks.formatting.conversion.convert import ConvertedFile, convert_files
from tasks.formatting.files.readers import SourceFile, read_rows
from tasks.formatting.rows.examples import Message
from tasks.formatting.rows.formats import Conversation, detect_format, parse_row
from tests.tasks.formatting.conversion.chatgpt_tree import make_tree

PAIR = {"prompt": "1?", "completion": "one", "kind": "a"}
TURNS = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "one"}]


DATA = DataConfig()


def write(folder: Path, files: dict[str, Any]) -> list[SourceFile]:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        raw = content if isinstance(content, bytes) else json.dumps(content, indent=1).encode()
        (folder / name).write_bytes(raw)
    return [SourceFile(folder / name, name) for name in files]


def convert(
    files: Sequence[SourceFile],
    output: Path,
    data: DataConfig = DATA,
    *,
    all_branches: bool = False,
    force: bool = False,
) -> list[ConvertedFile]:
    return convert_files(files, output, data, all_branches=all_branches, force=force)


def read_json(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_conversations(file: SourceFile) -> list[Conversation]:
    found = []
    for _, row in read_rows(file):
        assert isinstance(row, dict)
        name = detect_format(row)
        assert name
        parsed = parse_row(row, name, {}, None)
        assert isinstance(parsed, Conversation), parsed
        found.append(parsed)
    return found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", [PAIR]),
        ("a.jsonl", PAIR),
        ("a.csv", b"prompt;completion;kind\r\n1?;one;a\r\n"),
        ("a.json", {"instruction": "1?", "input": "", "output": "one", "kind": "a"}),
        ("a.json", [{"messages": TURNS, "kind": "a"}]),
        ("a.ndjson", json.dumps(PAIR).encode()),
        ("a.json", {"conversations": [{"from": "human", "value": "1?"},
                                      {"from": "gpt", "value": "one"}], "kind": "a"}),
    ],
)  # fmt: skip
def test_every_format_becomes_messages(tmp_path: Path, name: str, content: Any) -> None:
    (converted,) = convert(write(tmp_path, {name: content}), tmp_path / "out")
    assert converted.output == tmp_path / "out" / "a.jsonl"
    assert read_json(converted.output) == [{"messages": TURNS, "kind": "a"}]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted([name, "a.jsonl"])


def test_an_export_is_converted_and_what_is_left_out_is_listed(tmp_path: Path) -> None:
    files = write(tmp_path, {"conversations.json": [make_tree(), {"no": "format"}]})
    (converted,) = convert(files, tmp_path / "chat.jsonl")
    assert converted.num_rows == 1
    assert converted.left_out["other_branch"] == 3
    listed = (tmp_path / "chat.jsonl.left_out.log").read_text().splitlines()
    assert len(listed) == sum(converted.left_out.values()) == 11
    assert listed[0] == (
        "conversations.json:2, conversation conversation-1, node a1\tother_branch\t"
        "stands on another branch"
    )
    assert listed[-1].split("\t")[1] == "unknown_format"
    (converted,) = convert(files, tmp_path / "all", all_branches=True)
    assert converted.num_rows == 3


def test_valid_files_are_left_alone_and_all_rows_may_go_to_one_file(tmp_path: Path) -> None:
    valid = json.dumps({"messages": TURNS}).encode()
    broken = valid + b'\n{"messages": []}\n'
    files = write(tmp_path, {"valid.jsonl": valid, "pair.json": [PAIR], "broken.jsonl": broken})
    converted = convert(files, tmp_path / "all.jsonl")
    assert [(f.is_valid_already, f.num_rows) for f in converted] == [
        (True, 0), (False, 1), (False, 1),
    ]  # fmt: skip
    assert converted[2].left_out == {"not_messages": 1}
    assert [row["messages"] for row in read_json(tmp_path / "all.jsonl")] == [TURNS, TURNS]


def test_preferences_keep_both_answers(tmp_path: Path) -> None:
    row = {"prompt": "1?", "chosen": "one", "rejected": "two"}
    (converted,) = convert(write(tmp_path, {"a.json": [row]}), tmp_path / "out")
    assert converted.output
    assert read_json(converted.output) == [row]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("there.jsonl", "there.jsonl is there already"),
        ("a.jsonl", "a.jsonl is an input"),
        ("folder.jsonl", r"a\.jsonl is there already"),
    ],
)
def test_nothing_is_replaced_unasked(tmp_path: Path, output: str, words: str) -> None:
    files = write(tmp_path, {"a.jsonl": [PAIR]})
    (tmp_path / "there.jsonl").write_text("mine")
    (tmp_path / "folder.jsonl" / "a.jsonl").mkdir(parents=True)
    with pytest.raises(RequestError, match=words):
        convert(files, tmp_path / output)
    assert (tmp_path / "there.jsonl").read_text() == "mine"
    convert(files, tmp_path / "there.jsonl", force=True)
    assert len(read_json(tmp_path / "there.jsonl")) == 1


def test_a_failure_leaves_no_output(tmp_path: Path) -> None:
    files = write(tmp_path, {"a.json": [PAIR], "b.json": b'[{"text" 1}]'})
    with pytest.raises(RequestError, match="broken JSON"):
        convert(files, tmp_path / "out")
    files = write(tmp_path, {"a.json": [{"prompt": "1?", "completion": " "}]})
    with pytest.raises(RequestError, match="nothing in it can be converted"):
        convert(files, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_two_inputs_never_share_an_output(tmp_path: Path) -> None:
    files = write(tmp_path, {"a.json": [PAIR], "a.csv": b"prompt,completion\n1?,one\n"})
    with pytest.raises(RequestError, match=r"a\.json, a\.csv would all be written to"):
        convert(files, tmp_path / "out")
    files = write(tmp_path, {"x/a.json": [PAIR], "y/a.json": [PAIR]})
    assert [f.output for f in convert(files, tmp_path / "out")] == [
        tmp_path / "out" / "x" / "a.jsonl", tmp_path / "out" / "y" / "a.jsonl",
    ]  # fmt: skip


TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\uffff\ufdd0"), min_size=1
).filter(str.strip)
CALL = st.builds(
    lambda name, arguments: {
        "role": "assistant",
        "tool_calls": [
            {"type": "function", "id": "c", "function": {"name": name, "arguments": arguments}}
        ],
    },
    st.sampled_from(["search", "add"]),
    st.just({"b": 1, "a": [2.5, "é"]}),
)
WEIGHED = st.builds(lambda text: {"role": "assistant", "content": text, "weight": 0}, TEXT)
CONVERSATION = st.builds(
    lambda system, pairs, extra: [
        *([{"role": "system", "content": system}] if system else []),
        *extra,
        *(
            {"role": role, "content": text}
            for pair in pairs
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ),
    ],
    st.none() | TEXT,
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
    st.one_of(
        st.just([]),
        st.tuples(st.just({"role": "user", "content": "?"}), CALL | WEIGHED).map(list),
    ),
)
ROW = st.one_of(
    st.fixed_dictionaries({"messages": CONVERSATION}),
    st.fixed_dictionaries({"prompt": TEXT, "completion": TEXT}),
    st.fixed_dictionaries({"instruction": TEXT, "input": TEXT | st.just(""), "output": TEXT}),
    st.builds(
        lambda q, a: {
            "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]
        },
        TEXT,
        TEXT,
    ),
)


def write_csv(rows: list[dict[str, Any]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


@given(rows=st.lists(ROW, min_size=1, max_size=4), data=st.data())
@settings(deadline=None, max_examples=60)
def test_convert_then_read_gives_the_same_messages(
    rows: list[dict[str, Any]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("round-trip")
    contents: dict[str, bytes] = {
        "a.json": json.dumps(rows, indent=data.draw(st.sampled_from([None, 2]))).encode(),
        "series.json": "\n".join(json.dumps(row, indent=1) for row in rows).encode(),
    }
    if all(isinstance(value, str) for row in rows for value in row.values()):
        contents["a.csv"] = write_csv([row for row in rows if row.keys() == rows[0].keys()])
    for file in write(folder, contents):
        before = read_conversations(file)
        (converted,) = convert([file], folder / f"{file.name}.out")
        assert converted.output
        after = read_conversations(SourceFile(converted.output, converted.output.name))
        assert [c.messages for c in after] == [c.messages for c in before]
        assert all(isinstance(m, Message) for c in after for m in c.messages)
        (again,) = convert(
            [SourceFile(converted.output, "again.jsonl")], folder / f"{file.name}.again"
        )
        assert again.is_valid_already


def test_foreign_columns_and_roles_are_read_as_the_settings_say(tmp_path: Path) -> None:
    files = write(
        tmp_path,
        {
            "a.json": [{"question": "Why?", "answer": "So."}],
            "b.json": [
                {
                    "messages": [
                        {"role": "user", "content": "Who?"},
                        {"role": "bot", "content": "I."},
                    ]
                }
            ],
        },
    )
    columns = {"question": "prompt", "answer": "completion"}
    data = DataConfig(columns=columns, roles={"bot": "assistant"})
    convert(files, tmp_path / "out.jsonl", data)
    turns = [
        [turn["content"] for turn in row["messages"]] for row in read_json(tmp_path / "out.jsonl")
    ]
    assert turns == [["Why?", "So."], ["Who?", "I."]]


def test_an_unknown_column_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    files = write(tmp_path, {"a.json": [{"question": "Why?", "answer": "So."}]})
    with pytest.raises(RequestError, match="no key of a format"):
        convert(files, tmp_path / "out.jsonl", DataConfig(columns={"question": "asked"}))
    assert not (tmp_path / "out.jsonl").exists()
