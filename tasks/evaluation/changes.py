"""Changes: the examples that the candidate won or lost against an opponent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.evaluation.predictions import Prediction

NO_CHANGE = 1e-6  # nats a token; rounding moves the likelihood by less


@dataclass(frozen=True)
class Change:
    """One example, answered by both, with what the candidate gained on it."""

    candidate: Prediction
    opponent: Prediction
    gain: float
    """Difference in exact match; for `text` rows, NLL per token saved, in nats."""


@dataclass(frozen=True)
class Changes:
    """The paired examples of a split, sorted out."""

    won: tuple[Change, ...]
    """Largest gain first, then in the rows' order."""
    lost: tuple[Change, ...]
    """Largest loss first, then in the rows' order."""
    unchanged: tuple[Change, ...]


def compute_token_nll(row: Prediction) -> float:
    """Return a row's NLL per trained token, in nats."""
    return row.nll_sum / row.num_tokens


def measure_gain(candidate: Prediction, opponent: Prediction) -> float:
    """Return the candidate's gain on one example."""
    if "exact_match" in candidate.scores and "exact_match" in opponent.scores:
        return candidate.scores["exact_match"] - opponent.scores["exact_match"]
    saved = compute_token_nll(opponent) - compute_token_nll(candidate)
    return 0.0 if abs(saved) < NO_CHANGE else saved


def sort_changes(candidate: Sequence[Prediction], opponent: Sequence[Prediction]) -> Changes:
    """Sort the examples that both answered into won, lost and unchanged.

    Args:
        candidate: The candidate's predictions on a split.
        opponent: The opponent's on the same examples, in any order.
    """
    other = {row.id: row for row in opponent}
    changes = [
        Change(row, other[row.id], measure_gain(row, other[row.id]))
        for row in candidate
        if row.id in other
    ]
    return Changes(
        won=tuple(sorted((c for c in changes if c.gain > 0), key=lambda c: -c.gain)),
        lost=tuple(sorted((c for c in changes if c.gain < 0), key=lambda c: c.gain)),
        unchanged=tuple(c for c in changes if c.gain == 0),
    )
