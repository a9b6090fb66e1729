"""Greedy decoding of a batch that shrinks: answers that have ended are computed no further."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

# Shape suffixes: B prompts of a batch, T tokens, V vocabulary.

LEAST_SHRINKAGE = 0.125  # share of the batch below which copying the cache costs more than it saves


def can_decode(model: Any) -> bool:
    """Say whether `decode_greedily` suits a model: one that is fed as transformers feeds most."""
    from transformers import GenerationMixin

    own = type(model).prepare_inputs_for_generation
    is_plain = own is GenerationMixin.prepare_inputs_for_generation
    return is_plain and not model.config.is_encoder_decoder


def can_shrink(cache: Any) -> bool:
    """Say whether rows can be taken out of a cache: all its layers keep keys and values by row."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return isinstance(cache, DynamicCache) and all(
        type(layer) in {DynamicLayer, DynamicSlidingWindowLayer} for layer in cache.layers
    )


def decode_greedily(
    model: Any,
    input_ids: torch.Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> torch.Tensor:
    """Continue each row with the likeliest tokens, as `generate` does, which calls this.

    To be given to `generate` as `custom_generate`. After each step that ends enough answers, their
    rows leave the batch and its cache.

    Args:
        model: A causal LM.
        input_ids: The prompts, padded on the left, shape (B, T).
        logits_processor: Applied to the logits of each step.
        stopping_criteria: Not asked: end tokens and length are all that ends an answer.
        generation_config: Its end tokens and padding token.
        **model_kwargs: As `generate` prepared them: `past_key_values`, `attention_mask`, ...

    Returns:
        Prompts and new tokens, filled up with padding behind an end token.
    """
    del stopping_criteria  # what it would stop at stands in the config
    ends = torch.tensor(generation_config.eos_token_id, device=input_ids.device)
    state = _Batch(input_ids, model_kwargs)
    new_ids: list[list[int]] = [[] for _ in range(input_ids.shape[0])]
    for step in range(generation_config.max_new_tokens):
        output = model(**_prepare_step(model, state, is_first=step == 0), return_dict=True)
        logits_BV = output.logits[:, -1].float()
        next_B = logits_processor(state.ids_BT, logits_BV).argmax(dim=-1)
        for row, token in zip(state.rows, next_B.tolist(), strict=True):
            new_ids[row].append(token)
        state.is_open_B &= ~torch.isin(next_B, ends)
        if not state.append(next_B):
            break
    return _fill_up(input_ids, new_ids, ends.tolist(), generation_config.pad_token_id)


class _Batch:
    """The rows that go on, with what the model needs to know of them."""

    def __init__(self, input_ids: torch.Tensor, model_kwargs: dict[str, Any]) -> None:
        self.ids_BT = input_ids
        self.kwargs = model_kwargs
        self.rows = list(range(input_ids.shape[0]))
        self.is_open_B = torch.ones(len(self.rows), dtype=torch.bool, device=input_ids.device)

    def append(self, next_B: torch.Tensor) -> bool:
        """Add a token to each row, and let rows go that have ended; say whether any goes on."""
        num_open = int(self.is_open_B.sum())
        if not num_open:
            return False
        self.ids_BT = torch.cat([self.ids_BT, next_B[:, None]], dim=1)
        if (mask_BT := self.kwargs.get("attention_mask")) is not None:  # None: nothing is padded
            ones_B1 = torch.ones_like(mask_BT[:, :1])
            self.kwargs["attention_mask"] = torch.cat([mask_BT, ones_B1], dim=1)
        if (positions_BT := self.kwargs.get("position_ids")) is not None:
            following = positions_BT[:, -1:] + 1
            self.kwargs["position_ids"] = torch.cat([positions_BT, following], dim=1)
        num_ended = len(self.rows) - num_open
        if num_ended >= LEAST_SHRINKAGE * len(self.rows) and can_shrink(self._cache):
            self._keep(self.is_open_B.nonzero()[:, 0])
        return True

    @property
    def _cache(self) -> Any:
        return self.kwargs.get("past_key_values")

    def _keep(self, index_B: torch.Tensor) -> None:
        self.rows = [self.rows[i] for i in index_B.tolist()]
        self._cache.batch_select_indices(index_B)
        for name in ("attention_mask", "position_ids"):
            if self.kwargs.get(name) is not None:
                self.kwargs[name] = self.kwargs[name][index_B]
        self.ids_BT, self.is_open_B = self.ids_BT[index_B], self.is_open_B[index_B]


def _prepare_step(model: Any, state: _Batch, *, is_first: bool) -> Any:
    """Return the model's inputs: the whole prompts first, then the last token of each row."""
    return model.prepare_inputs_for_generation(
        state.ids_BT,
        next_sequence_length=None if is_first else 1,
        is_first_iteration=is_first,
        **state.kwargs,
    )


def _fill_up(
    input_ids: torch.Tensor,
    new_ids: Sequence[Sequence[int]],
    ends: Sequence[int],
    pad_token_id: int,
) -> torch.Tensor:
    """Return prompts and new tokens as `generate` does, padding behind an answer's end."""
    longest = max(len(ids) for ids in new_ids)
    rows = []
    for ids in new_ids:
        end = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
        rows.append([*ids[:end], *[pad_token_id] * (longest - end)])
    return torch.cat([input_ids, torch.tensor(rows, device=input_ids.device)], dim=1)
