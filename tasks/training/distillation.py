"""Distillation: a frozen teacher whose probabilities of each trained token are learnt too.

Shapes: K trained tokens of a packed row, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from torch.utils.checkpoint import checkpoint
from transformers import AutoTokenizer

from configs.errors import RequestError
from tasks.records.digests import digest_value
from tasks.training.attention import choose_attention, use_attention
from tasks.training.collator import PackedRow
from tasks.training.guards import check_packing
from tasks.training.job import TrainingJob
from tasks.training.loss import CHUNK_BYTES, compute_cross_entropy, compute_logits
from tasks.training.models import load_base

LOG = logging.getLogger("hone")
WHERE = "training.teacher"


@contextmanager
def open_teacher(job: TrainingJob) -> Iterator[Any | None]:
    """Give the frozen teacher, attending as training does; None where there is none.

    Raises:
        RequestError: There is no such model, or its vocabulary is not that of the base model.
        RunError: Packed rows do not stay apart in it, or the hub does not answer.
    """
    location = job.teacher_location
    if location is None:
        yield None
        return
    revision = None if Path(location).is_dir() else job.teacher_revision
    check_vocabulary(location, job.formatted / "tokenizer", revision=revision)
    teacher = load_base(location, dtype=job.dtype, device=job.device.kind, revision=revision)
    teacher.requires_grad_(requires_grad=False)
    LOG.info("teacher: %s, %d parameters", job.training.teacher, teacher.num_parameters())
    packing = job.training.packing
    own = teacher.config._attn_implementation  # noqa: SLF001 - there is no getter
    with use_attention(
        teacher, choose_attention(teacher, job.config.attn_implementation, packing=packing)
    ):
        check_packing(
            teacher, job.train, job.dtype, teacher.device, own_attention=own, packing=packing
        )
        yield teacher


def check_vocabulary(teacher: Path | str, tokenizer: Path, *, revision: str | None) -> None:
    """Refuse a teacher whose tokens are others: its probabilities would be of something else.

    Args:
        teacher: Its folder, or its hub id.
        tokenizer: The folder of the tokenizer that the data was formatted with.
        revision: The commit of a teacher on the hub.

    Raises:
        RequestError: Tokens or their ids differ, or the teacher has no tokenizer.
    """
    try:
        theirs = AutoTokenizer.from_pretrained(str(teacher), revision=revision or "main")
    except (OSError, ValueError) as err:
        found = f"{teacher} has no tokenizer that can be compared: {err}"
        raise RequestError(where=WHERE, message=found) from err
    own, other = AutoTokenizer.from_pretrained(str(tokenizer)).get_vocab(), theirs.get_vocab()
    if digest_vocabulary(own) != digest_vocabulary(other):
        different = sorted(t for t in own.keys() | other.keys() if own.get(t) != other.get(t))
        raise RequestError(
            where=WHERE,
            message=f"the vocabulary of {teacher} is not that of the base model: {len(other)} and "
            f"{len(own)} tokens, {len(different)} of them differ, such as {different[0]!r}",
            allowed="a model with the base model's tokenizer",
        )


def digest_vocabulary(vocabulary: dict[str, int]) -> str:
    """Return the SHA-256 of all tokens with their ids."""
    return digest_value(sorted(vocabulary.items()))


def compute_distilled_losses(
    model: Any,
    row: PackedRow,
    *,
    teacher: Any,
    weight: float,
    temperature: float,
    trained_only: bool = True,
    chunked: bool = True,
) -> torch.Tensor:
    """Return (1 - w) x cross-entropy + w x T^2 x KL(teacher, model) of each trained token, in nats.

    T^2 keeps the gradient of the second term as large as that of the first whatever T is.

    Source: Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network (2015), section 2.

    Args:
        model: The model that is trained, on the row's device.
        row: The packed row, with at least one trained token.
        teacher: A frozen model with the same vocabulary.
        weight: w, from 0 to 1.
        temperature: T, above 0.
        trained_only: As in `compute_logits`.
        chunked: As in `compute_cross_entropy`.

    Returns:
        (K,), float32, in the order of the row's tokens.
    """
    logits_KV = compute_logits(model, row, trained_only=trained_only)
    losses_K = compute_cross_entropy(logits_KV, row.targets, chunked=chunked)
    if weight == 0:
        return losses_K
    with torch.no_grad():
        taught_KV = compute_logits(teacher, row, trained_only=trained_only)
    divergences_K = compute_divergence(logits_KV, taught_KV, temperature, chunked=chunked)
    return (1 - weight) * losses_K + weight * temperature**2 * divergences_K


def compute_divergence(
    logits_KV: torch.Tensor, taught_KV: torch.Tensor, temperature: float, *, chunked: bool = True
) -> torch.Tensor:
    """Return KL(teacher, model) of each token in float32, never all logits in float32 at once.

    Where one of them pads its vocabulary further, the padding is left out.

    Args:
        logits_KV: Logits of the model that is trained.
        taught_KV: Logits of the teacher.
        temperature: What both are divided by.
        chunked: In pieces, computed again in the backward pass.
    """
    width = min(logits_KV.size(1), taught_KV.size(1))
    logits_KV, taught_KV = logits_KV[:, :width], taught_KV[:, :width]
    tokens_per_chunk = max(1, CHUNK_BYTES // (8 * width))
    if not chunked or len(logits_KV) <= tokens_per_chunk:
        return _compute_chunk(logits_KV, taught_KV, temperature)
    pairs = zip(logits_KV.split(tokens_per_chunk), taught_KV.split(tokens_per_chunk), strict=True)
    pieces = [checkpoint(_compute_chunk, *p, temperature, use_reentrant=False) for p in pairs]
    return torch.cat(pieces)


def _compute_chunk(
    logits_KV: torch.Tensor, taught_KV: torch.Tensor, temperature: float
) -> torch.Tensor:
    learnt_KV = F.log_softmax(logits_KV.float() / temperature, dim=-1)
    taught_KV = F.log_softmax(taught_KV.float() / temperature, dim=-1)
    return F.kl_div(learnt_KV, taught_KV, reduction="none", log_target=True).sum(dim=-1)
