"""Predictions: what one model did with one example of an evaluation split, as a row of a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tasks.records.writing import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Prediction:
    """One example with the model's answer and scores; the gate reads nothing else."""

    id: str
    """Digest of the example; the same in every arm."""
    group: str
    """Rows of one group are resampled together."""
    origin: str
    """File and line that the example came from."""
    fields: dict[str, Any]
    """Other scalar fields of the row, such as its kind: each is a way to slice, see slices.py."""
    prompt: str
    """The turns before the answer, as a person reads them; empty for `text` rows."""
    prompt_digest: str
    """By which rows that the champion was trained on are known, whatever their answer."""
    reference: str
    """The right answer; for `text` rows the text itself."""
    prediction: str
    """The model's answer; empty for `text` rows, which are only scored by NLL."""
    ended: bool
    """Whether the answer ended by itself, not by `max_new_tokens`."""
    num_new_tokens: int
    """Tokens generated, the end token included."""
    nll_sum: float
    """Negative log-likelihood of the trained tokens, in nats, summed."""
    num_tokens: int
    """Trained tokens that `nll_sum` is over."""
    num_bytes: int
    """UTF-8 bytes of the text that `nll_sum` is over, to compare across tokenizers."""
    scores: dict[str, float]
    """Scores of the answer by metric name."""


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write one prediction a line, in the order given."""
    write_jsonl(path, (asdict(prediction) for prediction in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """Return the predictions in a file written by `write_predictions`."""
    names = {field.name for field in fields(Prediction)}
    rows = read_jsonl(path)
    assert all(set(row) == names for row in rows), f"{path} was written by another version"
    return [Prediction(**row) for row in rows]


def read_splits(folder: Path) -> dict[str, list[Prediction]]:
    """Return the predictions of every split below `folder/predictions`, by split, sorted."""
    files = sorted((folder / "predictions").glob("*.jsonl"))
    return {file.stem: read_predictions(file) for file in files}
