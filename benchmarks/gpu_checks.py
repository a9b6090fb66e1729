"""What must hold before a figure means anything: packed losses are those of the documents alone."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.gpu_setting import BYTES, Documents, Setting, build_base
from tasks.training.adapters import attach_adapter, cast_inputs
from tasks.training.attention import VARLEN, use_attention
from tasks.training.collator import pack_row
from tasks.training.guards import TOLERANCES
from tasks.training.loss import compute_token_losses
from tasks.training.models import DTYPES

NUM_LAYERS = 2
NUM_DOCUMENTS = 4


def check_losses(setting: Setting, documents: Documents) -> dict[str, Any]:
    """Compare the losses of packed documents with those of each alone, on a few layers.

    Returns:
        `parity_difference`: between the mean loss of a packed row (varlen) and that of its
        documents one by one (SDPA). `contamination`: the largest change of another document's
        token losses when one document is replaced; it must be zero. `is_right`: both hold.
    """
    net = attach_adapter(build_base(setting, num_layers=NUM_LAYERS), setting.model)
    _stir_adapter(net)
    rows = zip(documents.tokens, documents.labels, strict=True)
    chosen = sorted(rows, key=lambda row: len(row[0]))[-2 * NUM_DOCUMENTS :: 2]
    own = net.config._attn_implementation  # noqa: SLF001 - transformers has no getter
    packed = _score(setting, net, chosen, VARLEN)
    alone = [_score(setting, net, [row], own) for row in chosen]
    tokens, labels = chosen[0]
    changed = [(token + 1) % BYTES for token in tokens]
    replaced = [(changed, [c if x >= 0 else x for c, x in zip(changed, labels, strict=True)])]
    again = _score(setting, net, [*replaced, *chosen[1:]], VARLEN)
    count = len(alone[0])
    assert not torch.equal(packed[:count], again[:count]), "the replaced document was not read"
    difference = abs(packed.mean() - torch.cat(alone).mean()).item()
    contamination = (packed[count:] - again[count:]).abs().max().item()
    tolerance = TOLERANCES[setting.dtype]
    return {
        "loss": packed.mean().item(),
        "parity_difference": difference,
        "tolerance": tolerance,
        "contamination": contamination,
        "is_right": difference <= tolerance and contamination == 0,
    }


def _score(setting: Setting, net: Any, rows: list[Any], attention: str) -> torch.Tensor:
    """Return the losses of the trained tokens of one row, as a training computes them."""
    kind, dtype = setting.device.kind, DTYPES[setting.dtype]
    is_mixed = setting.dtype != "float32"
    context = torch.autocast(kind, dtype=dtype) if is_mixed else nullcontext()
    with torch.no_grad(), use_attention(net, attention), cast_inputs(net, enabled=False), context:
        return compute_token_losses(net, pack_row(rows).move_to(kind)).cpu()


def _stir_adapter(net: Any) -> None:
    """Let the adapter change the output, as it does after the first step."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
