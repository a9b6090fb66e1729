"""Negative log-likelihood of the trained tokens of each example, summed, in nats."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional

from tasks.evaluation.generation import unwrap_model
from tasks.records.observer import Observer

# Shape suffixes: B rows of a batch, T tokens, K positions whose logits are computed, V vocabulary.

IGNORE_INDEX = -100
MAX_BATCH_TOKENS = 8_192
MAX_LOGITS = 1 << 26  # a quarter of a GiB in float32; a single longer row may take more
CHUNK_POSITIONS = 256


class Tokenized(Protocol):
    """A rendered example: `labels` is -100 where a token is not scored."""

    @property
    def input_ids(self) -> Sequence[int]:
        """Token ids."""

    @property
    def labels(self) -> Sequence[int]:
        """The same ids, or -100."""


@dataclass(frozen=True)
class NllScore:
    """The sums that NLL and perplexity are made of."""

    nll_sum: float
    num_tokens: int


def find_first_label(row: Tokenized) -> int:
    """Return the position of the first scored token, at least 1."""
    return next((i for i, label in enumerate(row.labels) if label != IGNORE_INDEX), 1)


def plan_batches(rows: Sequence[Tokenized], vocabulary_size: int) -> Iterator[list[int]]:
    """Group rows of similar length into batches that bound tokens and logits, longest first."""
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].input_ids), i))
    batch: list[int] = []
    first = 0
    for i in order:
        longest = len(rows[batch[0]].input_ids) if batch else 0
        new_first = min(first, find_first_label(rows[i]))
        size = len(batch) + 1
        is_full = size * longest > MAX_BATCH_TOKENS
        is_full |= size * (longest - new_first) * vocabulary_size > MAX_LOGITS
        if batch and is_full:
            yield batch
            batch = []
        first = new_first if batch else find_first_label(rows[i])
        batch.append(i)
    if batch:
        yield batch


def compute_logits(model: Any, input_ids_BT: torch.Tensor, positions_K: torch.Tensor) -> Any:
    """Return the logits at some positions only, shape (B, K, V), where the model can do that."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        output = model(input_ids=input_ids_BT, logits_to_keep=positions_K, use_cache=False)
        return output.logits
    return model(input_ids=input_ids_BT, use_cache=False).logits[:, positions_K]


def score_batch(model: Any, rows: Sequence[Tokenized]) -> list[NllScore]:
    """Score rows together, padded on the right.

    Attention is causal, so that no token sees the padding after it: no mask is needed.
    """
    longest = max(len(row.input_ids) for row in rows)
    first = min(find_first_label(row) for row in rows)
    ids = [list(row.input_ids) + [0] * (longest - len(row.input_ids)) for row in rows]
    labels = [list(row.labels) + [IGNORE_INDEX] * (longest - len(row.labels)) for row in rows]
    ids_BT = torch.tensor(ids, device=model.device)
    labels_BK = torch.tensor(labels, device=model.device)[:, first:]
    # The logits at a position are about the next token.
    positions_K = torch.arange(first - 1, longest - 1, device=model.device)
    logits_BKV = compute_logits(model, ids_BT, positions_K)
    nll_B = torch.zeros(len(rows), dtype=torch.float64)
    for start in range(0, labels_BK.shape[1], CHUNK_POSITIONS):
        part = slice(start, start + CHUNK_POSITIONS)
        chunk_BKV, chunk_BK = logits_BKV[:, part].float(), labels_BK[:, part]
        losses_BK = functional.cross_entropy(
            chunk_BKV.transpose(1, 2), chunk_BK, ignore_index=IGNORE_INDEX, reduction="none"
        )
        nll_B += losses_BK.cpu().double().sum(dim=1)  # Apple's MPS has no float64
    counts_B = (labels_BK != IGNORE_INDEX).sum(dim=1).cpu()
    return [NllScore(float(nll), int(count)) for nll, count in zip(nll_B, counts_B, strict=True)]


def score_nll(model: Any, rows: Sequence[Tokenized], *, observer: Observer) -> list[NllScore]:
    """Score each row's trained tokens; the sum does not depend on the batching.

    Args:
        model: A causal LM in eval mode, with or without an adapter.
        rows: Rendered examples.
        observer: Told how many are scored.

    Returns:
        One score for each row, in order.
    """
    target = unwrap_model(model)
    scores: dict[int, NllScore] = {}
    with torch.inference_mode():
        for batch in plan_batches(rows, target.config.get_text_config().vocab_size):
            scores |= zip(batch, score_batch(target, [rows[i] for i in batch]), strict=True)
            observer.report_progress(len(scores), len(rows), "rows scored")
    return [scores[i] for i in range(len(rows))]
