from pathlib import Path

import pytest

from tasks.evaluation.predictions import read_predictions, read_splits, write_predictions
from tests.tasks.evaluation.rows import make_row, make_rows


def test_predictions_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [make_row(1, prediction='é\u2028\n"quoted"', nll_sum=0.1 + 0.2), make_row(2, exact=1.0)]
    write_predictions(tmp_path / "predictions" / "test.jsonl", rows)
    write_predictions(tmp_path / "predictions" / "dev.jsonl", make_rows([1.0]))
    assert read_splits(tmp_path) == {"dev": make_rows([1.0]), "test": rows}


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(AssertionError, match="another version"):
        read_predictions(tmp_path / "x.jsonl")
