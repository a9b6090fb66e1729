from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.errors import RequestError
from flows.commands.convert_data import convert_data
from tests.tasks.formatting.conversion.chatgpt_tree import make_tree

VALID = {"messages": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "one"}]}


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    (folder / "more").mkdir(parents=True)
    (folder / "conversations.json").write_text(json.dumps([make_tree()]))
    (folder / "more" / "valid.jsonl").write_text(json.dumps(VALID))
    (folder / "notes.md").write_text("about")
    return folder


def convert(*inputs: Path, output: Path, as_json: bool = False) -> int:
    return convert_data(
        inputs=list(inputs),
        output=output,
        all_branches=False,
        force=False,
        overrides=(),
        as_json=as_json,
    )


def test_what_became_of_each_file_is_said(
    exports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(exports, output=tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert f"conversations.json: 1 rows in {tmp_path}/out/conversations.jsonl" in shown
    assert "  left out      3  other_branch" in shown
    assert "more/valid.jsonl: valid already, left as it is" in shown
    assert [p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".jsonl"] == [
        "conversations.jsonl"
    ]


def test_json_holds_counts_and_where_the_list_is(
    exports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"
    assert convert(exports / "conversations.json", output=output, as_json=True) == 0
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert (file["rows"], file["valid_already"], file["output"]) == (1, False, str(output))
    assert sum(file["left_out"].values()) == len(Path(file["list"]).read_text().splitlines())
    assert file["first_left_out"][0]["reason"] == "other_branch"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.json", "there is no such file or folder"),
        ("notes.md", "not a kind of file that hone reads"),
        ("empty", "the folder holds no readable file"),
    ],
)
def test_inputs_that_are_none_are_refused(
    exports: Path, tmp_path: Path, name: str, words: str
) -> None:
    (exports / "empty").mkdir()
    with pytest.raises(RequestError, match=words):
        convert(exports / name, output=tmp_path / "out")
