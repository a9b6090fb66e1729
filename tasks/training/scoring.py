"""The validation's scores: of each trained token its loss, and whether it would have been chosen.

Shapes: K trained tokens of a packed row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from tasks.training.collator import PackedRow
from tasks.training.loss import compute_cross_entropy, compute_logits


def score_rows(
    model: Any,
    rows: Iterable[PackedRow],
    device: Any,
    *,
    every: int | None,
    after_row: Callable[[], object],
) -> torch.Tensor:
    """Return the loss of each trained token, and whether the model would have chosen it.

    Args:
        model: A causal language model, in eval mode.
        rows: The packed rows; they may be none.
        device: Where the model is.
        every: Rows whose scores stay on the device; None: those of all rows.
        after_row: Called after each row.

    Returns:
        (2, K of all rows), float32, on the processor.
    """
    kept = [torch.empty(2, 0)]
    waiting: list[torch.Tensor] = []
    for row in rows:
        moved = row.move_to(device)
        logits_KV = compute_logits(model, moved)
        hits_K = logits_KV.argmax(-1) == moved.targets
        losses_K = compute_cross_entropy(logits_KV, moved.targets)
        waiting.append(torch.stack([losses_K, hits_K.float()]))
        after_row()
        if len(waiting) == every:  # read once, not at each row: that would wait for the device
            kept.append(torch.cat(waiting, dim=1).cpu())
            waiting = []
    return torch.cat([*kept, *(w.cpu() for w in waiting)], dim=1)
