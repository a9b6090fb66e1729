"""Answers of a model to prompts: in batches of similar length, left-padded, greedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from configs.errors import RequestError
from tasks.evaluation.decoding import can_decode, decode_greedily
from tasks.records.observer import Observer

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

# Shape suffixes: B prompts of a batch, T tokens.

FIRST_ROUND_TOKENS = 32


@dataclass(frozen=True)
class Answer:
    """What a model said to one prompt."""

    token_ids: tuple[int, ...]
    """The new tokens, the end token included where there is one."""
    text: str
    """The new tokens as text, without the end token."""
    ended: bool
    """Whether it ended by itself."""
    counted_tokens: int | None = None
    """The number of new tokens, where a server tells only that."""

    @property
    def num_new_tokens(self) -> int:
        """How many tokens it has, the end token included."""
        return len(self.token_ids) if self.counted_tokens is None else self.counted_tokens


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; evaluations never draw."""

    temperature: float = 1.0
    """Divides the logits; lower is more like greedy."""
    top_p: float = 1.0
    """Draw among the likeliest tokens that together have this probability."""
    seed: int = 0
    """The same seed draws the same answers."""


def unwrap_model(model: Any) -> Any:
    """Return the module that generates: an adapter's base, with the adapter inside it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def find_context_length(model: Any) -> int | None:
    """Return how many tokens the model was made for, or None where it does not say."""
    config = unwrap_model(model).config.get_text_config()
    length = getattr(config, "max_position_embeddings", None)
    return None if length is None else int(length)


def check_context(
    lengths: Sequence[int], names: Sequence[str], limit: int | None, key: str
) -> None:
    """Refuse rows that the model's context does not hold; nothing is ever cut.

    Args:
        lengths: Tokens of each row, those to be generated included.
        names: Where each row came from.
        limit: The model's context in tokens; None: unknown, nothing is refused.
        key: The config key to look at.

    Raises:
        RequestError: With the first rows that are too long.
    """
    if limit is None:
        return
    rows = zip(lengths, names, strict=True)
    too_long = [f"{name}: {length} tokens" for length, name in rows if length > limit]
    if too_long:
        raise RequestError(
            where=key,
            message=f"{len(too_long)} evaluation rows do not fit the model's context",
            allowed=f"{limit} tokens, new tokens included",
            hint="lower evaluation.max_new_tokens, shorten the rows, or take another base model",
            problems=tuple(too_long[:10]),
        )


def find_end_tokens(model: Any, renderer: Renderer) -> tuple[int, ...]:
    """Return every token that ends an answer: those of the renderer, then the model's own.

    A model may end in more ways than its tokenizer names, such as Llama 3's `<|eom_id|>`.
    """
    own = unwrap_model(model).generation_config.eos_token_id
    own_ids = own if isinstance(own, list) else [own]
    return tuple(dict.fromkeys([*renderer.end_token_ids, *(i for i in own_ids if i is not None)]))


def build_generation_config(
    renderer: Renderer,
    end_token_ids: Sequence[int],
    max_new_tokens: int,
    sampling: Sampling | None = None,
) -> GenerationConfig:
    """Return the one configuration of an evaluation: greedy, with every end token respected."""
    drawn: dict[str, float] = {}
    if sampling:  # top_k 0: all tokens; what is left open would be 50
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return GenerationConfig(
        **drawn,
        do_sample=sampling is not None,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(end_token_ids),
        pad_token_id=renderer.pad_token_id,
        use_cache=True,
    )


@contextmanager
def use_only(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Replace the model's own generation config for a while.

    `generate` fills what a given config leaves open from the model's own, so that a
    repetition penalty or forced tokens there would change "greedy" answers.
    """
    own = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = own


def pad_left(prompts: Sequence[Sequence[int]], pad_token_id: int, device: Any) -> dict[str, Any]:
    """Return `input_ids` and `attention_mask` of shape (B, T), padded on the left."""
    longest = max(len(prompt) for prompt in prompts)
    ids_BT = [[pad_token_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask_BT = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {
        "input_ids": torch.tensor(ids_BT, device=device),
        "attention_mask": torch.tensor(mask_BT, device=device),
    }


def cut_answer(
    renderer: Renderer, end_token_ids: Sequence[int], token_ids: Sequence[int]
) -> Answer:
    """Return what was generated up to the first end token."""
    ends = [i for i, token in enumerate(token_ids) if token in end_token_ids]
    if not ends:
        return Answer(tuple(token_ids), renderer.decode(token_ids), False)
    return Answer(
        tuple(token_ids[: ends[0] + 1]),
        renderer.decode(token_ids[: ends[0]]),
        True,
    )


def generate_batch(
    target: Any, prompts: Sequence[Sequence[int]], config: GenerationConfig
) -> list[list[int]]:
    """Return the new tokens of each prompt, filled up behind an end token."""
    inputs = pad_left(prompts, config.pad_token_id, target.device)
    is_greedy = not config.do_sample and can_decode(target)
    own = {"custom_generate": decode_greedily} if is_greedy else {}
    output_BT = target.generate(**inputs, generation_config=config, **own)
    new_BT: list[list[int]] = output_BT[:, inputs["input_ids"].shape[1] :].tolist()
    assert len(new_BT) == len(prompts), f"{len(new_BT)} answers to {len(prompts)} prompts"
    return new_BT


def plan_rounds(max_new_tokens: int) -> Iterator[int]:
    """Yield how many tokens each round may add: 32, 64, 128, ... up to `max_new_tokens` in all.

    A batch runs until its last answer ends. After each round the answers that go on are put into
    batches of their own, so that a few endless ones do not hold up all the others; what that
    costs is one pass over their tokens so far.

    >>> list(plan_rounds(200))
    [32, 64, 104]
    """
    added, size = 0, FIRST_ROUND_TOKENS
    while added < max_new_tokens:
        yield min(size, max_new_tokens - added)
        added, size = added + size, 2 * size


def generate_answers(
    model: Any,
    renderer: Renderer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    observer: Observer,
    names: Sequence[str] | None = None,
    sampling: Sampling | None = None,
) -> list[Answer]:
    """Answer each prompt, greedily unless told otherwise, in batches of similar length.

    Args:
        model: A causal LM in eval mode, with or without an adapter.
        renderer: What made the prompts; knows the end tokens beside the model's own.
        prompts: Token ids of each prompt.
        max_new_tokens: Longest answer, the end token included.
        batch_size: Prompts answered at a time.
        observer: Told how many are answered.
        names: Where each prompt came from, for errors; by default its number.
        sampling: Draw the tokens in this way; None: always the likeliest one.

    Returns:
        One answer for each prompt, in the prompts' order.

    Raises:
        RequestError: A prompt and its answer do not fit the model's context.
    """
    names = names or [f"prompt {number}" for number in range(1, len(prompts) + 1)]
    lengths = [len(prompt) + max_new_tokens for prompt in prompts]
    check_context(lengths, names, find_context_length(model), "evaluation.max_new_tokens")
    if sampling:
        torch.manual_seed(sampling.seed)
    target, new_ids = unwrap_model(model), [list[int]() for _ in prompts]
    ends = find_end_tokens(model, renderer)
    # Longest first: what does not fit into memory shows at once.
    pending = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    for num_tokens in plan_rounds(max_new_tokens):
        config = build_generation_config(renderer, ends, num_tokens, sampling)
        going_on: list[int] = []
        for start in range(0, len(pending), batch_size):
            batch = pending[start : start + batch_size]
            with use_only(target, config), torch.inference_mode():
                added = generate_batch(target, [[*prompts[i], *new_ids[i]] for i in batch], config)
            for i, ids in zip(batch, added, strict=True):
                new_ids[i] += ids
                going_on += [] if set(ids).intersection(ends) else [i]
            done = len(prompts) - (len(pending) - start - len(batch)) - len(going_on)
            observer.report_progress(done, len(prompts), "answers")
        pending = going_on
        if not pending:
            break
    if pending:
        observer.report_progress(len(prompts), len(prompts), "answers")
    return [cut_answer(renderer, ends, ids) for ids in new_ids]
