"""The examples that a model does worst on."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.evaluation.changes import compute_token_nll
from tasks.evaluation.predictions import Prediction

RIGHT = 1.0


def rank_worst(rows: Sequence[Prediction]) -> list[Prediction]:
    """Return the rows that are not right, the most surprising reference first.

    Right is a row whose answer matches exactly; where that is not known (texts, other metrics), no
    row is. Surprising is a high NLL per trained token; rows without one come last.
    """
    wrong = [row for row in rows if row.scores.get("exact_match") != RIGHT]
    return sorted(wrong, key=lambda row: -compute_token_nll(row) if row.num_tokens else 0.0)
