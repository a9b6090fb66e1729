"""Micro-batches of judged answers, padded as TRL's losses take them.

Shapes: B answers of a micro-batch, T tokens of the longest.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from tasks.formatting.rendering.renderer import IGNORE_INDEX
from tasks.training.objectives.answers import Answer, JudgedSplit
from tasks.training.plan import Row, TrainingPlan


@dataclass(frozen=True)
class Batch:
    """A micro-batch.

    Attributes:
        tensors: What TRL's loss takes, by its names; empty where the batch only fills up a step.
        num_examples: Pairs, or labelled answers.
        num_tokens: Real tokens, padding not counted.
        num_desired: Chosen or desired answers.
        num_undesired: Rejected or undesired answers.
    """

    tensors: dict[str, torch.Tensor]
    num_examples: int
    num_tokens: int
    num_desired: int
    num_undesired: int

    @property
    def padded_tokens(self) -> int:
        """Tokens with their padding."""
        return sum(t.numel() for name, t in self.tensors.items() if name.endswith("input_ids"))

    def count(self, metric: str) -> int:
        """Return how many answers a metric of this batch is the mean of."""
        if metric.endswith("/chosen"):
            return self.num_desired
        return self.num_undesired if metric.endswith("/rejected") else self.num_examples


EMPTY = Batch({}, 0, 0, 0, 0)
Collate = Callable[[JudgedSplit, Sequence[int], int], Batch]


@dataclass(frozen=True)
class BatchSet(Dataset):  # type: ignore[misc]
    """The planned micro-batches, in order, made when they are asked for."""

    judged: JudgedSplit
    rows: tuple[Row, ...]
    collate: Collate
    pad_token_id: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        row = self.rows[index]
        return self.collate(self.judged, row, self.pad_token_id) if row else EMPTY


def plan_batches(plan: TrainingPlan, batch_size: int) -> TrainingPlan:
    """Lay the examples of each step into micro-batches of nearly equal size.

    Args:
        plan: A plan without packing, one example a row.
        batch_size: Most examples of a micro-batch.
    """
    per_step = -(-plan.examples_per_step // batch_size)
    rows: list[Row] = []
    for step in range(1, plan.num_steps + 1):
        rows += split_evenly(plan.find_examples(step), batch_size, per_step)
    return dataclasses.replace(plan, rows=tuple(rows), rows_per_step=per_step)


def split_evenly(row: Row, batch_size: int, count: int) -> list[Row]:
    """Split a step into `count` batches; those at the end may be empty.

    >>> split_evenly((1, 2, 3, 4, 5), batch_size=4, count=3)
    [(1, 2, 3), (4, 5), ()]
    """
    full = -(-len(row) // batch_size)
    size, larger = divmod(len(row), max(full, 1))
    bounds = [size * i + min(i, larger) for i in range(full + 1)]
    batches = [row[a:b] for a, b in itertools.pairwise(bounds)]
    return batches + [()] * (count - full)


def collate_pairs(judged: JudgedSplit, indices: Sequence[int], pad_token_id: int) -> Batch:
    """Return pairs as `DPOTrainer` takes them: all chosen answers, then all rejected ones."""
    answers = judged.read_answers(indices) + [judged.rejected[i] for i in indices]
    return _make_pairs(pad_answers(answers, pad_token_id), answers)


def collate_sides(judged: JudgedSplit, indices: Sequence[int], pad_token_id: int) -> Batch:
    """Return pairs as `ORPOTrainer` takes them: each side padded for itself, with labels."""
    sides = {
        "chosen": judged.read_answers(indices),
        "rejected": [judged.rejected[i] for i in indices],
    }
    tensors = {}
    for side, answers in sides.items():
        padded = pad_answers(answers, pad_token_id)
        is_trained = padded["completion_mask"].bool()
        tensors[f"{side}_input_ids"] = padded["input_ids"]
        tensors[f"{side}_attention_mask"] = padded["attention_mask"]
        tensors[f"{side}_labels"] = padded["input_ids"].masked_fill(~is_trained, IGNORE_INDEX)
    return _make_pairs(tensors, [*sides["chosen"], *sides["rejected"]])


def collate_labelled(judged: JudgedSplit, indices: Sequence[int], pad_token_id: int) -> Batch:
    """Return labelled answers as `KTOTrainer` takes them, each prompt also with a foreign answer.

    The foreign answers, of which the distance to the base model is estimated, are those of the
    other prompts of the batch; a lone example gets that of its neighbour in the data.
    """
    answers = judged.read_answers(indices)
    foreign = [answers[-1], *answers[:-1]]
    if len(indices) == 1:
        foreign = judged.read_answers([(indices[0] + 1) % len(judged.labels)])
    longest = judged.longest_tokens  # a long prompt may meet a long answer
    mixed = [_exchange(*pair, longest) for pair in zip(answers, foreign, strict=True)]
    labels = [judged.labels[i] for i in indices]
    tensors = pad_answers(answers, pad_token_id) | {"label": torch.tensor(labels)}
    tensors |= {f"KL_{name}": t for name, t in pad_answers(mixed, pad_token_id).items()}
    num_tokens = sum(len(answer.input_ids) for answer in [*answers, *mixed])
    return Batch(tensors, len(labels), num_tokens, sum(labels), len(labels) - sum(labels))


def pad_answers(answers: Sequence[Answer], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Return `input_ids`, `attention_mask` and `completion_mask`, each (B, T), padded on the right.

    The completion is exactly what supervised training takes its loss on.
    """
    rows = [torch.tensor(answer.input_ids) for answer in answers]
    compared = [torch.tensor(answer.labels) != IGNORE_INDEX for answer in answers]
    return {
        "input_ids": _pad(rows, pad_token_id),
        "attention_mask": _pad([torch.ones_like(row) for row in rows], 0),
        "completion_mask": _pad([mask.long() for mask in compared], 0),
    }


def _pad(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def _exchange(own: Answer, other: Answer, max_length: int) -> Answer:
    """Return the prompt of one example with the answer of another, cut at `max_length` tokens."""
    input_ids = own.prompt + other.input_ids[other.start :]
    labels = [IGNORE_INDEX] * own.start + other.labels[other.start :]
    return Answer(input_ids[:max_length], labels[:max_length])


def _make_pairs(tensors: dict[str, torch.Tensor], answers: Sequence[Answer]) -> Batch:
    count = len(answers) // 2
    return Batch(tensors, count, sum(len(a.input_ids) for a in answers), count, count)
