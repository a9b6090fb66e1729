"""Several answers written together, each in its own way, and handed on token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from tasks.evaluation.generation import pad_left, unwrap_model, use_only
from tasks.publishing.serving.answering import PendingAnswer

if TYPE_CHECKING:
    from tasks.formatting.rendering.renderer import Renderer

# Shape suffixes: B answers of a batch, T tokens, V vocabulary.

IMPOSSIBLE = -float("inf")


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with what it needs to answer."""

    model: Any
    renderer: Renderer
    end_token_ids: tuple[int, ...]


def write_answers(
    loaded: LoadedModel, batch: Sequence[PendingAnswer], should_pause: Callable[[int], bool]
) -> None:
    """Go on with answers until all are over, or a pause is asked for.

    Answers that are not over can be gone on with in another batch: what that costs is one pass
    over their tokens so far.

    Args:
        loaded: The model.
        batch: Answers that are not over; they may want different lengths, stops and sampling.
        should_pause: Asked after each token with the number of tokens of this call.
    """
    target = unwrap_model(loaded.model)
    config = GenerationConfig(
        do_sample=False,  # each row draws for itself
        num_beams=1,
        max_new_tokens=max(answer.num_left for answer in batch),
        pad_token_id=loaded.renderer.pad_token_id,
        use_cache=True,
    )
    prompts = [[*answer.prompt, *answer.new_ids] for answer in batch]
    inputs = pad_left(prompts, config.pad_token_id, target.device)
    with use_only(target, config), torch.inference_mode():
        target.generate(
            **inputs,
            generation_config=config,
            logits_processor=[DrawnTokens(batch)],
            stopping_criteria=[TokenReader(loaded, batch, should_pause)],
        )


class DrawnTokens(LogitsProcessor):  # type: ignore[misc]
    """Draws the next token of each answer that is sampled; the others take the likeliest."""

    def __init__(self, batch: Sequence[PendingAnswer]) -> None:
        self.batch = batch

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002 - transformers' signature
        """Return the scores of shape (B, V); a row that was drawn has one possible token."""
        for row, answer in enumerate(self.batch):
            if answer.wish.temperature > 0 and not answer.is_over:
                token = draw_token(scores[row], answer)
                scores[row] = IMPOSSIBLE
                scores[row, token] = 0
        return scores


class TokenReader(StoppingCriteria):  # type: ignore[misc]
    """Hands each new token to its answer, and says which answers are over."""

    def __init__(
        self,
        loaded: LoadedModel,
        batch: Sequence[PendingAnswer],
        should_pause: Callable[[int], bool],
    ) -> None:
        self.loaded = loaded
        self.batch = batch
        self.should_pause = should_pause
        self.num_steps = 0

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - transformers' signature
        """Return for each row whether it is done, shape (B,)."""
        self.num_steps += 1
        for token, answer in zip(input_ids[:, -1].tolist(), self.batch, strict=True):
            if not answer.is_over:
                answer.add_token(token, self.loaded.end_token_ids, self.loaded.renderer)
        done = [answer.is_over for answer in self.batch]
        if self.should_pause(self.num_steps):
            done = [True] * len(done)
        return torch.tensor(done, device=input_ids.device)


def draw_token(scores_V: Any, answer: PendingAnswer) -> int:
    """Draw a token: of the likeliest ones that together have the probability `top_p`.

    Args:
        scores_V: Logits of the next token.
        answer: With its temperature, and random numbers of its own.

    Source: Holtzman et al. 2019, The Curious Case of Neural Text Degeneration, section 3.1.
    """
    if answer.generator is None:
        answer.generator = torch.Generator()
        seed = answer.wish.seed
        answer.generator.seed() if seed is None else answer.generator.manual_seed(seed)
    scaled = scores_V.float().cpu() / answer.wish.temperature
    values, tokens = scaled.softmax(-1).sort(descending=True)
    before = values.cumsum(-1) - values  # the probability of all likelier tokens
    values[before >= answer.wish.top_p] = 0
    values[0] = max(float(values[0]), torch.finfo(torch.float32).tiny)  # top_p 0: the likeliest
    return int(tokens[torch.multinomial(values, 1, generator=answer.generator)])
