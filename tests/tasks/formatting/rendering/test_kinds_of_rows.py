"""Rows of every format, from the file to tokens: what is trained on, and what the ledger says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.schema import DataConfig
from tasks.formatting.build import format_data
from tasks.formatting.rendering.chat_templates import list_tool_templates
from tasks.formatting.rows.examples import Message, ToolCall, read_examples
from tasks.records.writing import read_json
from tests.tasks.formatting.rendering.conversing import FIXTURES

WriteSource = Callable[..., Path]
SETTINGS: dict[str, Any] = {"validation_fraction": 0, "test_fraction": 0}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def build(source: Path, out: Path, tokenizer: Path, template: str, **data: Any) -> dict[str, int]:
    result = format_data(
        source, out, data=DataConfig(**SETTINGS | data), tokenizer=tokenizer,
        chat_template=template, max_length=2048, assistant_only_loss=True,
    )  # fmt: skip
    return result.rows.model_dump()


def test_undesired_rows_are_filtered_and_columns_renamed(
    write_source: WriteSource, byte_level_tokenizer: Path, tmp_path: Path
) -> None:
    rows = [{"q": f"Why {n}?", "a": f"So {n}.", "label": n != 1} for n in range(3)]
    source = write_source({"train/rows.jsonl": rows})
    columns = {"q": "prompt", "a": "completion"}
    counts = build(source, tmp_path / "out", byte_level_tokenizer, "chatml", columns=columns)
    assert (counts["read"], counts["kept"], counts["filtered"], counts["invalid"]) == (3, 2, 1, 0)
    assert read_json(tmp_path / "out" / "ledger.json")["filtered"] == {"undesired": 1}
    examples = read_examples(tmp_path / "out" / "examples" / "train.jsonl")
    assert [(e.reference, e.label) for e in examples] == [("So 0.", True), ("So 2.", True)]


def test_the_rejected_answer_is_kept_with_the_row(
    write_source: WriteSource, byte_level_tokenizer: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": "Why?", "chosen": "So.", "rejected": answer} for answer in ("No.", "Hm.")]
    source = write_source({"train/rows.jsonl": rows})
    counts = build(source, tmp_path / "out", byte_level_tokenizer, "chatml")
    assert counts["kept"] == 2
    examples = read_examples(tmp_path / "out" / "examples" / "train.jsonl")
    assert [e.rejected for e in examples] == [
        (Message("assistant", "No."),), (Message("assistant", "Hm."),),
    ]  # fmt: skip
    assert {(e.reference, e.rejected_at) for e in examples} == {("So.", 1)}


def test_rows_with_tools_need_a_template_that_writes_them(
    write_source: WriteSource, byte_level_tokenizer: Path, tmp_path: Path
) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    asked = [{"role": "user", "content": "Add."}, {"role": "assistant", "tool_calls": [call]}]
    plain = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    rows = [{"messages": asked, "tools": [TOOL]}, {"messages": plain}]
    source = write_source({"train/rows.jsonl": rows})
    for template in list_tool_templates():
        assert build(source, tmp_path / template, byte_level_tokenizer, template)["kept"] == 2
    example = read_examples(tmp_path / "qwen" / "examples" / "train.jsonl")[0]
    assert example.messages[1] == Message("assistant", "", (ToolCall("add", '{"a": 1}'),))
    gemma = tmp_path / "gemma"
    counts = build(source, gemma, byte_level_tokenizer, "gemma", max_invalid_fraction=0.5)
    assert (counts["kept"], counts["invalid"]) == (1, 1)
    assert read_json(gemma / "ledger.json")["invalid"] == {"unrenderable": 1}
    entry = json.loads((gemma / "ledger.jsonl").read_text().splitlines()[0])
    assert "built-in ones with tools: chatml, llama3, mistral, qwen" in entry["detail"]


def test_turns_that_a_template_makes_untrainable_are_counted(
    write_source: WriteSource, byte_level_tokenizer: Path, tmp_path: Path
) -> None:
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    again = [{"role": "assistant", "content": "So."}, {"role": "user", "content": "And?"}]
    answer = {"role": "assistant", "content": "No."}
    source = write_source({"train/rows.jsonl": [{"messages": [*asked, *again, answer]}]})
    for name, template in (("own", str(FIXTURES / "mistral.jinja")), ("ours", "mistral")):
        assert build(source, tmp_path / name, byte_level_tokenizer, template)["kept"] == 1
    counts = [read_json(tmp_path / name / "ledger.json") for name in ("own", "ours")]
    assert [found["untrained_turns"] for found in counts] == [1, 0]
    entries = [(tmp_path / name / "ledger.jsonl").read_text() for name in ("own", "ours")]
    assert [json.loads(entry)["untrained_turns"] for entry in entries] == [1, 0]
    reports = [(tmp_path / name / "data_report.md").read_text() for name in ("own", "ours")]
    assert ["1 earlier assistant turns are not trained on" in text for text in reports] == [
        True,
        False,
    ]
