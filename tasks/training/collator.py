"""A packed row of examples as the tensors that a model and the loss take.

Shapes: T tokens of the row, K trained tokens, N examples in the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

IGNORE_INDEX = -100


@dataclass(frozen=True)
class PackedRow:
    """One micro-batch: whole examples one after the other, without padding.

    Attributes:
        input_ids: (1, T).
        position_ids: (1, T), restarting at 0 in each example.
        cu_seq_lens: (N + 1,), int32, where the examples begin and where the last one ends.
        max_length: Tokens of the longest example, a plain number: reading it waits for no device.
        logits_to_keep: (K,), the positions whose next token is trained on.
        targets: (K,), those next tokens.
        num_trained: (N,) plain numbers, trained tokens of each example; K is their sum.
        num_padding: Tokens at the end that only fill the row.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    cu_seq_lens: torch.Tensor
    max_length: int
    logits_to_keep: torch.Tensor
    targets: torch.Tensor
    num_trained: tuple[int, ...]
    num_padding: int = 0

    def move_to(self, device: torch.device | str) -> PackedRow:
        """Return the row with its tensors on another device."""
        tensors = {k: v for k, v in vars(self).items() if isinstance(v, torch.Tensor)}
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
        return PackedRow(**(vars(self) | moved))


def pack_row(
    examples: Iterable[tuple[Sequence[int], Sequence[int]]], *, pad_to: int = 0
) -> PackedRow:
    """Put examples into one row whose attention and loss keep them apart.

    Args:
        examples: (input_ids, labels) of each; labels have -100 where nothing is trained on. No
            example gives a row of one token and no target, which keeps the ranks of a step equal.
        pad_to: Fill the row up to this many tokens with an example of its own that nothing is
            trained on, so that all rows have one shape.

    >>> row = pack_row([([5, 6, 7], [-100, 6, 7]), ([8, 9], [-100, 9])])
    >>> row.position_ids.tolist(), row.cu_seq_lens.tolist(), row.targets.tolist()
    ([[0, 1, 2, 0, 1]], [0, 3, 5], [6, 7, 9])
    """
    examples = list(examples) or [([0], [IGNORE_INDEX])]
    missing = max(0, pad_to - sum(len(input_ids) for input_ids, _ in examples))
    examples += [([0] * missing, [IGNORE_INDEX] * missing)] if missing else []
    lengths = [len(input_ids) for input_ids, _ in examples]
    assert all(labels[0] == IGNORE_INDEX for _, labels in examples), "no token predicts the first"
    input_ids = torch.tensor([token for ids, _ in examples for token in ids])
    labels = torch.tensor([label for _, labels in examples for label in labels])
    trained = (labels != IGNORE_INDEX).nonzero().squeeze(1)
    return PackedRow(
        input_ids=input_ids.unsqueeze(0),
        position_ids=torch.cat([torch.arange(n) for n in lengths]).unsqueeze(0),
        cu_seq_lens=torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
        max_length=max(lengths),
        logits_to_keep=trained - 1,  # the token before predicts it
        targets=labels[trained],
        num_trained=tuple(len(ls) - list(ls).count(IGNORE_INDEX) for _, ls in examples),
        num_padding=missing,
    )


def build_inputs(row: PackedRow, *, is_varlen: bool) -> dict[str, Any]:
    """Return a row as the keyword arguments of a causal model's forward.

    Args:
        row: The packed row, on the model's device.
        is_varlen: Whether the attention reads the examples' bounds; other implementations find
            them by the restarting positions, which works only without a mask and without a cache.
    """
    inputs: dict[str, Any] = {
        "input_ids": row.input_ids,
        "attention_mask": None,
        "use_cache": False,
    }
    if len(row.num_trained) > 1 or is_varlen:  # one example alone needs none; some models take none
        inputs["position_ids"] = row.position_ids
    if not is_varlen:
        return inputs
    return inputs | {
        "cu_seq_lens_q": row.cu_seq_lens,
        "cu_seq_lens_k": row.cu_seq_lens,
        "max_length_q": row.max_length,
        "max_length_k": row.max_length,
    }
