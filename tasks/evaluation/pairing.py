"""Arms paired row by row: the candidate's predictions beside an opponent's on the same examples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.evaluation.predictions import Prediction
from tasks.records.handles import Arm

OPPONENTS: tuple[Arm, ...] = ("baseline", "champion")
SAME_NLL = 1e-6  # relative; sums of the same weights differ by less, those of other weights by more


@dataclass(frozen=True)
class ArmEvidence:
    """What one arm did on the evaluation splits."""

    predictions: Mapping[str, Sequence[Prediction]]
    """By split."""
    tokenizer: str = ""
    """Digest of its tokenizer; where two arms differ, NLL is compared in bits per byte."""


@dataclass(frozen=True)
class Pairing:
    """The paired rows of one split, candidate and opponent in the same order."""

    opponent: Arm
    split: str
    candidate_rows: Sequence[Prediction]
    opponent_rows: Sequence[Prediction]
    num_left_out: int
    """Rows left out because the opponent was trained on them."""
    same_tokenizer: bool


def pair_arms(
    arms: Mapping[Arm, ArmEvidence], opponent: Arm, split: str, excluded: frozenset[str]
) -> Pairing:
    """Pair the rows of two arms by id, but for those with an excluded prompt.

    Another answer to a prompt that was trained on, or a repeated row, has another id.

    Raises:
        ValueError: The arms do not hold the same rows, once each.
    """
    candidate = arms["finetuned"].predictions[split]
    other = {row.id: row for row in arms[opponent].predictions[split]}
    ids = [row.id for row in candidate]
    if len(set(ids)) != len(ids) or set(ids) != set(other):
        raise ValueError(f"{split}: finetuned and {opponent} do not hold the same examples")
    kept = [row for row in candidate if row.prompt_digest not in excluded]
    same = arms["finetuned"].tokenizer == arms[opponent].tokenizer
    return Pairing(
        opponent, split, kept, [other[row.id] for row in kept], len(ids) - len(kept), same
    )


def are_identical(pairing: Pairing) -> bool:
    """Say whether the candidate's outputs equal the opponent's: every answer and every NLL."""
    return all(
        a.prediction == b.prediction and math.isclose(a.nll_sum, b.nll_sum, rel_tol=SAME_NLL)
        for a, b in zip(pairing.candidate_rows, pairing.opponent_rows, strict=True)
    )


def list_pairings(
    arms: Mapping[Arm, ArmEvidence],
    splits: Sequence[str],
    champion_prompts: frozenset[str],
) -> Iterator[Pairing]:
    """List what is compared: each opponent that there is, on each split."""
    for opponent in (arm for arm in OPPONENTS if arm in arms):
        excluded = champion_prompts if opponent == "champion" else frozenset[str]()
        for split in splits:
            yield pair_arms(arms, opponent, split, excluded)
