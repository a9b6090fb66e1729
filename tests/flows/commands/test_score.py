from __future__ import annotations

import os
from pathlib import Path

import pytest

from configs.errors import RequestError
from flows.commands.score import _check_output, _write_answers, score_model


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing/out.jsonl", "no folder"), ("file/out.jsonl", "is not a folder"), (".", "a folder")],
)
def test_an_output_that_cannot_be_written_is_refused_before_scoring(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match=f"--output: .*{words}"):
        score_model(
            "no-such-model", preset="tiny", data=None, num_samples=None,
            output=tmp_path / name, overrides=[], as_json=True,
        )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_answers_are_joined_under_the_umask(tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for name in ("b", "a"):
        (predictions / f"{name}.jsonl").write_text(f"{name}\n")
    output = tmp_path / "out" / "answers.jsonl"
    output.parent.mkdir()
    _check_output(output)
    previous = os.umask(0o022)
    try:
        _write_answers(predictions, output)
    finally:
        os.umask(previous)
    assert output.read_text() == "a\nb\n"
    assert output.stat().st_mode & 0o777 == 0o644
    assert list(output.parent.iterdir()) == [output]
